//! How a machine comes in: a token spent, an agent known, a certificate issued.

use common::{
    AgentId,
    message::{Enrol, Enrolled},
};

use super::ca::Ca;
use crate::store::{self, AgentRow, AuditLine, Enrolment, Name, Store, TokenHash, UnixSeconds};

/// Why an enrolment failed, for the log; the machine is told as much as it may know.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the certificate request is not valid")]
    Request(#[source] super::ca::Error),
    #[error("the join token is unknown, used up or expired; ask for another one")]
    Token,
    #[error("another agent has or had this id; leave out --client-id to get a fresh one")]
    IdTaken,
    #[error("the server cannot enrol agents at the moment; try again")]
    Store(#[source] store::Error),
    #[error("the server cannot make an identity at the moment; try again")]
    Random(#[source] getrandom::Error),
}

/// Lets a machine in, or says why not. The token is spent only where a certificate results.
pub async fn enrol(store: &Store, ca: &Ca, asked: &Enrol, now: UnixSeconds) -> Enrolled {
    match admit(store, ca, asked, now).await {
        Ok((agent_id, chain_der)) => {
            tracing::info!(agent = %agent_id.short(), name = asked.name, "enrolled an agent");
            Enrolled::Accepted { agent_id, chain_der }
        }
        Err(refusal) => {
            tracing::warn!(cause = ?std::error::Error::source(&refusal), "refused to enrol an agent: {refusal}");
            Enrolled::Refused { reason: refusal.to_string() }
        }
    }
}

async fn admit(
    store: &Store,
    ca: &Ca,
    asked: &Enrol,
    now: UnixSeconds,
) -> Result<(AgentId, Vec<Vec<u8>>), Refusal> {
    let id = match asked.wanted_id {
        Some(id) => id,
        None => AgentId::random().map_err(Refusal::Random)?,
    };
    // Before the token: a request that cannot be signed must not cost its owner a use.
    let chain = ca.issue_agent(&asked.request_der, id, now).map_err(Refusal::Request)?;
    let agent = AgentRow { id, name: Name::lossy(&asked.name), owner: None, enrolled: now, revoked: None };
    let token = TokenHash::of(asked.token.as_bytes());
    match store.enrol(&token, &agent).await.map_err(Refusal::Store)? {
        Enrolment::Done => {}
        Enrolment::BadToken => return Err(Refusal::Token),
        Enrolment::IdTaken => return Err(Refusal::IdTaken),
    }
    note(store, &agent).await;
    Ok((id, chain))
}

/// The agent is in by then: a trail that cannot be written is no reason to lose its certificate.
async fn note(store: &Store, agent: &AgentRow) {
    let line = AuditLine {
        at: agent.enrolled,
        actor: "join token".into(),
        action: "agent.enrol".into(),
        subject: agent.id.to_string(),
        detail: Some(agent.name.to_string()),
    };
    if let Err(error) = store.audit(&line).await {
        tracing::warn!(%error, "an enrolment is missing from the audit trail");
    }
}

#[cfg(test)]
mod tests;
