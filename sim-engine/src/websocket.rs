//! `/v1/realtime`: a WebSocket that says back what it hears.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::http1::{Connection, Error};
use crate::ledger::Outcome;

/// Accepts the upgrade and echoes messages until one side closes.
pub(crate) async fn echo(mut connection: Connection, key: &str) -> Result<Outcome, Error> {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    );
    connection.write(head.as_bytes()).await?;
    let (stream, ahead) = connection.into_parts();
    let mut socket = WebSocketStream::from_partially_read(stream, ahead, Role::Server, None).await;
    while let Some(message) = socket.next().await {
        match message {
            Ok(message) if message.is_text() || message.is_binary() => {
                if socket.send(message).await.is_err() {
                    return Ok(Outcome::PeerAborted);
                }
            }
            // The library answers pings and closes itself.
            Ok(message) if message.is_close() => return Ok(Outcome::Completed),
            Ok(_) => {}
            Err(_) => return Ok(Outcome::PeerAborted),
        }
    }
    Ok(Outcome::Completed)
}
