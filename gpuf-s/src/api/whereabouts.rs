//! Where agents are: with this server, with another one, or away.

use std::collections::HashMap;

use common::{AgentId, tls::Fingerprint};

use super::{AgentView, Api};
use crate::{
    auth::desk::JoinPoint,
    store::{Presence, ServerRow},
};

/// Who has a session somewhere, at one moment.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    here: HashMap<AgentId, AgentView>,
    elsewhere: HashMap<AgentId, Elsewhere>,
}

/// What other servers tell of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Elsewhere {
    /// How it is at the best of them.
    state: Option<Presence>,
    /// The names of all that have it.
    servers: Vec<String>,
}

impl Whereabouts {
    pub(super) fn of(api: &Api) -> Self {
        Self::new(api.fleet.agents(), &api.fleet.elsewhere())
    }

    pub(super) fn new(here: Vec<AgentView>, elsewhere: &[ServerRow]) -> Self {
        let here = here.into_iter().map(|view| (view.id, view)).collect();
        let mut others: HashMap<_, Elsewhere> = HashMap::new();
        for server in elsewhere {
            for agent in &server.agents {
                let known = others.entry(agent.id).or_default();
                known.state = Some(known.state.map_or(agent.state, |before| before.min(agent.state)));
                known.servers.push(server.name.clone());
            }
        }
        Self { here, elsewhere: others }
    }

    /// Everybody who has a session.
    pub(super) fn ids(&self) -> Vec<AgentId> {
        let mut ids: Vec<_> = self.here.keys().chain(self.elsewhere.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// An agent by what its sessions tell; where it has none here, on top of what is known without them.
    pub(super) fn told(&self, known: AgentView) -> AgentView {
        let elsewhere = self.elsewhere.get(&known.id);
        let mut view = self.here.get(&known.id).cloned().unwrap_or_else(|| {
            let state = elsewhere.and_then(|other| other.state).filter(|_| known.revoked_unix.is_none());
            AgentView { state: state.map_or(known.state.clone(), |state| state.as_str().to_owned()), ..known }
        });
        view.servers.extend(elsewhere.iter().flat_map(|other| other.servers.iter().cloned()));
        view
    }

    /// Those of this server, by id.
    pub(super) fn into_here(mut self) -> Vec<AgentView> {
        let mut views: Vec<_> = std::mem::take(&mut self.here).into_values().collect();
        for view in &mut views {
            let elsewhere = self.elsewhere.remove(&view.id).unwrap_or_default();
            view.servers.extend(elsewhere.servers);
        }
        views.sort_unstable_by_key(|view| view.id);
        views
    }
}

/// Where machines join: with this process, or with a server of the same database that is up.
pub(super) fn join_point(api: &Api) -> Option<JoinPoint> {
    api.join.clone().or_else(|| api.fleet.elsewhere().iter().find_map(join_point_of))
}

fn join_point_of(server: &ServerRow) -> Option<JoinPoint> {
    // What agents trust comes first.
    let fingerprint = fingerprint(server.fingerprint.split('+').next()?)?;
    let control = Some(server.control.clone()).filter(|control| !control.is_empty())?;
    Some(JoinPoint { control, fingerprint })
}

fn fingerprint(text: &str) -> Option<Fingerprint> {
    super::hex::read(text).map(Fingerprint::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{PresentAgent, UnixSeconds};

    fn server(name: &str, agents: &[(u8, Presence)]) -> ServerRow {
        let agent = |&(id, state): &(u8, Presence)| PresentAgent { id: AgentId::from_bytes([id; 16]), state };
        ServerRow {
            id: [0; 16],
            name: name.into(),
            version: String::new(),
            control: String::new(),
            public: String::new(),
            api: String::new(),
            fingerprint: String::new(),
            started: UnixSeconds(0),
            seen_unix_ms: 0,
            agents: agents.iter().map(agent).collect(),
        }
    }

    #[test]
    fn an_agent_is_as_it_is_at_the_best_of_its_servers() {
        let (connected, draining) = (Presence::Connected, Presence::Draining);
        let bare =
            |id: u8, state: &str| AgentView::bare(AgentId::from_bytes([id; 16]), "box".into(), state.into());
        let here = AgentView { servers: vec!["a".into()], ..bare(1, "connected") };
        let others = [
            server("b", &[(1, draining), (2, draining), (3, draining), (5, connected)]),
            server("c", &[(2, connected)]),
        ];
        let whereabouts = Whereabouts::new(vec![here], &others);
        let revoked = AgentView { revoked_unix: Some(UnixSeconds(2)), ..bare(5, "revoked") };
        let known = [bare(1, "offline"), bare(2, "offline"), bare(3, "offline"), bare(4, "offline"), revoked];
        let seen = known.map(|known| {
            let view = whereabouts.told(known);
            (view.state, view.servers.join(","))
        });
        let expected = [
            ("connected", "a,b"),
            ("connected", "b,c"),
            ("draining", "b"),
            ("offline", ""),
            ("revoked", "b"),
        ];
        assert_eq!(seen, expected.map(|(state, servers)| (state.to_owned(), servers.to_owned())));
        assert_eq!(whereabouts.ids().len(), 4);
    }

    #[test]
    fn machines_join_at_a_server_that_takes_them() {
        let trusted = Fingerprint::of(b"trusted");
        let draining = server("a", &[]);
        let up = ServerRow {
            control: "b:17000".into(),
            fingerprint: format!("{trusted}+{trusted}"),
            ..server("b", &[])
        };
        assert_eq!(join_point_of(&draining), None);
        let point = JoinPoint { control: "b:17000".into(), fingerprint: trusted };
        assert_eq!(join_point_of(&up), Some(point));
        assert_eq!(join_point_of(&ServerRow { fingerprint: "?".into(), ..up }), None);
    }
}
