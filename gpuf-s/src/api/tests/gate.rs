//! Who is let in, from where, and by which name.

use super::*;

#[tokio::test]
async fn every_closed_route_wants_a_token() {
    let bench = Bench::new().await;
    let key: KeyMade =
        serde_json::from_str(&bench.ask("POST", "/api/v1/keys", r#"{"name":"a"}"#).await.body).unwrap();
    let wrong = bench.token.replace(|_: char| true, "A");
    let credentials = [
        String::new(),
        format!("authorization: Bearer {}\r\n", key.key),
        format!("x-api-key: {}\r\n", bench.token),
        format!("authorization: Bearer {wrong}\r\n"),
        format!("authorization: Basic {}\r\n", bench.token),
        "authorization: Bearer \r\n".to_owned(),
        format!("authorization: Bearer {}\r\nauthorization: Bearer x\r\n", bench.token),
    ];
    assert!(closed_routes().count() > 10);
    for route in closed_routes() {
        for headers in &credentials {
            let answer = bench.send(route.method, &fill(route.path), headers, "").await;
            assert_eq!(answer.status, 401, "{} {} {headers:?}", route.method, route.path);
            assert!(["unauthorized", "enveloped"].contains(&&*answer.code()), "{}", answer.body);
            let asked = if ["/docs", "/api/openapi.json"].contains(&route.path) { "basic" } else { "bearer" };
            assert!(answer.head.contains(&format!("www-authenticate: {asked}")), "{}", route.path);
        }
    }
    assert_eq!(bench.api.store.keys().await.unwrap().len(), 1, "nothing was done");
}

#[tokio::test]
async fn nothing_is_open_but_health() {
    let open: Vec<_> = ROUTES.iter().filter(|route| route.access == Access::Open).collect();
    assert_eq!(open.iter().map(|route| route.path).collect::<Vec<_>>(), ["/api/health"]);
    let bench = Bench::new().await;
    let health = bench.send("GET", "/api/health", "", "").await;
    assert_eq!(health.json(), serde_json::json!({ "status": "ok", "ready": true, "version": "1.2.3" }));
    for path in ["/", "/api", "/api/v1", "/docs/", "/api/health/", "/api/user/nothing", "/api/nothing"] {
        assert_eq!(bench.send("GET", path, "", "").await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn every_route_answers_an_operator() {
    let bench = Bench::new().await;
    let agent = bench.enrolled("a", None).await.to_string();
    for route in ROUTES {
        let (path, body) = sample(route, &agent);
        let answer = bench.ask(route.method, &path, &body).await;
        let unknown = answer.status == 404 && route.path.contains("{id}");
        assert!(unknown || (200..300).contains(&answer.status), "{} {path}: {}", route.method, answer.body);
    }
}

#[tokio::test]
async fn a_server_that_drains_is_not_ready() {
    let draining = Bench::with(Agents { draining: true, ..Agents::default() }).await;
    assert_eq!(draining.ask("GET", "/api/ready", "").await.status, 503);
    let health = draining.send("GET", "/api/health", "", "").await;
    assert_eq!((health.status, &health.json()["ready"]), (200, &false.into()));
    assert_eq!(Bench::new().await.ask("GET", "/api/ready", "").await.status, 200);
}

#[tokio::test]
async fn a_page_takes_the_token_as_a_password() {
    use base64::Engine as _;
    let bench = Bench::new().await;
    let tenant = bench.tenant("lab").await;
    let basic = |token: &str| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("me:{token}"));
        format!("authorization: Basic {pair}\r\n")
    };
    for (path, status) in [("/docs", 200), ("/api/openapi.json", 200), ("/api/v1/keys", 401)] {
        for token in [&bench.token, &tenant] {
            assert_eq!(bench.send("GET", path, &basic(token), "").await.status, status, "{path}");
        }
        assert_eq!(bench.send("GET", path, &basic("wrong"), "").await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_refused_on_every_route() {
    let bench = Bench::new().await;
    let port = bench.api.address.port();
    let ask = |route: &Route, host: &str| {
        let (method, path, token) = (route.method, fill(route.path), &bench.token);
        format!(
            "{method} {path} HTTP/1.1\r\n{host}connection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        )
    };
    for route in ROUTES {
        for host in [
            "host: evil.example\r\n".to_owned(),
            format!("host: evil.example:{port}\r\n"),
            "host: localhost.evil.example\r\n".to_owned(),
            "host: 192.0.2.1\r\n".to_owned(),
            "host: localhost\r\nhost: evil.example\r\n".to_owned(),
            String::new(),
        ] {
            let answer = bench.raw(&ask(route, &host)).await;
            assert_eq!(
                (answer.status, answer.code().replace("enveloped", "host_not_allowed")),
                (403, "host_not_allowed".into()),
                "{host:?} {}",
                route.path
            );
        }
    }
    for host in ["localhost:1", "127.0.0.1", "[::1]:9", "GW.example", "ops.example:80", "localhost."] {
        let answer = bench.raw(&ask(&ROUTES[1], &format!("host: {host}\r\n"))).await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_request_line_with_another_host_is_refused() {
    let bench = Bench::new().await;
    let line = "GET http://evil.example/api/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(bench.raw(line).await.status, 403);
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_on_every_route() {
    let bench = Bench::new().await;
    let send = async |route: &Route, origin: &str| {
        let headers = format!("authorization: Bearer {}\r\norigin: {origin}\r\n", bench.token);
        bench.send(route.method, &fill(route.path), &headers, "").await
    };
    for route in ROUTES {
        for origin in ["https://evil.example", "null", "http://localhost.evil.example:3000", ""] {
            let answer = send(route, origin).await;
            let code = answer.code().replace("enveloped", "origin_not_allowed");
            assert_eq!((answer.status, code), (403, "origin_not_allowed".into()), "{origin}");
        }
    }
    assert_eq!(send(&ROUTES[1], "http://localhost:18081").await.status, 200);
    assert_eq!(send(&ROUTES[1], "https://ops.example").await.status, 200);
}

#[tokio::test]
async fn a_sane_request_id_is_given_back() {
    let bench = Bench::new().await;
    let answer = bench.send("GET", "/api/health", "x-request-id: abc-1.2_3\r\n", "").await;
    assert!(answer.head.contains("x-request-id: abc-1.2_3"));
    for odd in ["a b".to_owned(), "a".repeat(129)] {
        let answer = bench.send("GET", "/api/health", &format!("x-request-id: {odd}\r\n"), "").await;
        assert!(answer.head.contains("x-request-id: req_"), "{odd}");
    }
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_the_listener() {
    let bench = Bench::new().await;
    let mut idle = TcpStream::connect(bench.api.address).await.unwrap();
    idle.write_all(b"GET /api/health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    bench.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), bench.server).await.expect("it does not end").unwrap();
    assert!(TcpStream::connect(bench.api.address).await.is_err());
}

#[tokio::test]
async fn bytes_that_are_no_request_end_the_connection() {
    let bench = Bench::new().await;
    // The beginning of a TLS handshake, as an agent with its certificate would send it.
    let mut stream = TcpStream::connect(bench.api.address).await.unwrap();
    stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, b'\r', b'\n', b'\r', b'\n']).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(bench.send("GET", "/api/health", "", "").await.status, 200);
}
