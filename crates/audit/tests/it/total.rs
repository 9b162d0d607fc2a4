//! The API of events is total: whatever facts come along, an event stands in the log of its session's
//! organisation, with its session's ids, and in no other one's.

use lictor_audit::Filter;
use lictor_context::{
    CapabilityFacts, Event, EventFacts, EventType, Principal, Session, SessionId,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::rig::{Rig, name};

const ORGS: [&str; 3] = ["acme", "evil", "acme.evil"];
const IDS: [&str; 4] = ["org_id", "user_id", "agent_id", "session_id"];

/// A text that would like to be an id of another organisation's.
fn text() -> impl Strategy<Value = String> {
    proptest::sample::select(
        &[
            "evil",
            "acme",
            "\",\"org_id\":\"evil\",\"x\":\"",
            "\"}\n{\"v\":1,\"seq\":0,\"org_id\":\"evil\"}",
            "acme\u{0}",
            "\\\",\\\"org_id\\\":\\\"evil",
        ][..],
    )
    .prop_map(str::to_owned)
}

fn facts() -> impl Strategy<Value = EventFacts> {
    (text(), text(), proptest::option::of(text()), any::<bool>()).prop_map(
        |(one, two, error, nested)| {
            let mut forged = Map::new();
            for id in IDS {
                forged.insert(id.to_owned(), one.clone().into());
            }
            forged.insert(two.clone(), one.clone().into());
            let params = if nested { json!([[forged]]) } else { Value::Object(forged.clone()) };
            EventFacts {
                action_name: Some(one.clone()),
                action_params: Some(params),
                capability: Some(CapabilityFacts {
                    kind: one.clone(),
                    source: two.clone(),
                    version: one,
                    mcp_server: Some(two.clone()),
                }),
                step_id: Some(two),
                error_message: error,
                metadata: forged,
                ..EventFacts::default()
            }
        },
    )
}

fn session(org: &str, n: usize) -> Session {
    let principal = Principal {
        org: name(org),
        user: name(&format!("user-{n}")),
        agent: name(&format!("agent-{n}")),
    };
    Session::resume(SessionId::parse(&format!("ses_{org}_{n}")).unwrap(), principal)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_event_is_written_with_other_ids_than_its_sessions(
        events in prop::collection::vec(
            (0..ORGS.len(), 0..3_usize, 0..EventType::ALL.len(), facts()), 1..12),
    ) {
        let rig = Rig::new();
        let log = rig.open();
        let own = |kind: &EventType| {
            // These the trail writes itself; from others it refuses them.
            matches!(kind, EventType::KeyRotated | EventType::AuditPruned | EventType::SubjectErased
                | EventType::HoldPlaced | EventType::HoldReleased)
        };
        let made: Vec<(usize, Session, Event)> = events
            .into_iter()
            .map(|(org, n, kind, facts)| {
                let kind = EventType::ALL[kind];
                let kind = if own(&kind) { EventType::ActionRejected } else { kind };
                let session = session(ORGS[org], n);
                let mut event = Event::new(&session, kind, facts.clone(), &rig.clock);
                // Other facts make no other session.
                *event.facts_mut() = facts;
                (org, session, event)
            })
            .collect();
        log.append(made.iter().map(|(_, _, event)| event.clone()).collect()).unwrap();
        for (org, title) in ORGS.iter().enumerate() {
            let due: Vec<&Session> =
                made.iter().filter(|(of, ..)| *of == org).map(|(_, session, _)| session).collect();
            let found = log.query(&name(title), &Filter::default()).unwrap();
            prop_assert_eq!(found.len(), due.len());
            for (event, session) in found.iter().zip(due) {
                prop_assert!(!event.bytes.contains(&b'\n'), "one event a line");
                let line: Map<String, Value> = serde_json::from_slice(&event.bytes).unwrap();
                let principal = session.principal();
                let ids = [
                    principal.org.as_str(), principal.user.as_str(), principal.agent.as_str(),
                    session.id().as_str(),
                ];
                for (key, id) in IDS.iter().zip(ids) {
                    prop_assert_eq!(&line[*key], id);
                }
                // Nor twice, so that another reader took the other one.
                let text = std::str::from_utf8(&event.bytes).unwrap();
                let top = text.split("\"action_params\"").next().unwrap();
                for key in IDS {
                    prop_assert_eq!(top.matches(&format!("\"{key}\":")).count(), 1, "{}", text);
                }
            }
        }
    }
}
