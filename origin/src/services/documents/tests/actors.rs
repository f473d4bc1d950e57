//! Whose an actor is, when edges bring its changes in any order.

use super::*;
use automerge::ActorId;
use link::{Quarantine, QuarantineItem};
use sync_protocol::actor::registered;

/// Times by the clock of an edge.
const EARLY: u64 = 1_795_348_800_000;
const LATE: u64 = EARLY + 60_000;

fn at(logged_at: u64, item: PushItem) -> PushItem {
    PushItem { logged_at, ..item }
}

async fn push_of(origin: &TestOrigin, log: &str, items: Vec<PushItem>) -> Pushed {
    let push = Push { institute: NORTHSIDE.into(), log: log.into(), items };
    origin.app.documents.push_changes(log, push).await.unwrap()
}

#[tokio::test]
async fn a_change_under_another_users_actor_is_refused_whatever_its_number() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let vera = origin.user("teacher@northside.example").await;
    let eve = origin.user("assistant@northside.example").await;
    let notes = register(&origin, &vera, "notes", &class).await;
    for (n, actor) in [ActorId::from([7; 16]), registered("phone", [1; 8])].into_iter().enumerate() {
        let n = n as u64 * 10;
        let mut doc = replica(&origin, notes).await.with_actor(actor.clone());
        let first = edit(&mut doc, |tx| tx.put(ROOT, "a", "1").unwrap());
        push(&origin, vec![item(n + 1, notes, &vera, &first)]).await;
        let mut forged = doc.fork().with_actor(actor.clone());
        let forgery = edit(&mut forged, |tx| tx.put(ROOT, "a", "forged").unwrap());
        let honest = edit(&mut doc, |tx| tx.put(ROOT, "a", "2").unwrap());
        let pushed =
            push(&origin, vec![item(n + 2, notes, &eve, &forgery), item(n + 3, notes, &vera, &honest)]).await;
        assert_eq!(codes(&pushed), [(n + 2, "foreign-actor")]);
        // After a restart, and for somebody who reads the document anew.
        let bound = pull(&origin, notes, &[]).await.actors;
        let bound = bound.iter().find(|binding| binding.actor.as_slice() == actor.to_bytes()).unwrap();
        assert_eq!((&bound.user, bound.device.as_str()), (&vera.claims.sub, "phone"));
    }
    let other = PushItem { device: "tablet".into(), ..item(30, notes, &vera, b"") };
    let mut doc = replica(&origin, notes).await.with_actor(registered("phone", [9; 8]));
    let change = edit(&mut doc, |tx| tx.put(ROOT, "b", 1).unwrap());
    let pushed = push(&origin, vec![PushItem { bytes: change.into(), ..other }]).await;
    assert_eq!(codes(&pushed), [(30, "foreign-actor")], "the id names another device");
}

/// Eve read Vera's first change at one edge and carried it to another, whose link was quicker.
#[tokio::test]
async fn an_earlier_copy_moves_the_binding_to_who_wrote_it() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let vera = origin.user("teacher@northside.example").await;
    let eve = origin.user("assistant@northside.example").await;
    let notes = register(&origin, &vera, "notes", &class).await;
    let mut doc = replica(&origin, notes).await.with_actor(ActorId::from([7; 16]));
    let first = edit(&mut doc, |tx| tx.put(ROOT, "a", "1").unwrap());
    let second = edit(&mut doc, |tx| tx.put(ROOT, "a", "2").unwrap());
    let third = edit(&mut doc, |tx| tx.put(ROOT, "a", "3").unwrap());
    let carried = at(LATE, item(1, notes, &eve, &first));
    assert_eq!(codes(&push_of(&origin, "second", vec![carried]).await), []);
    // What that edge refuses Vera meanwhile waits here.
    let refused = |code: &str, bytes: &[u8]| QuarantineItem {
        sequence: 1,
        document: notes,
        user: vera.claims.sub.clone(),
        device: "phone".into(),
        code: code.into(),
        refused_at: LATE + 1,
        bytes: bytes.to_vec().into(),
    };
    let told = |items| Quarantine { institute: NORTHSIDE.into(), log: "second".into(), items };
    let admin = origin.user("admin@northside.example").await;
    origin.app.documents.quarantine("second", told(vec![refused("foreign-actor", &second)])).await.unwrap();
    let waiting =
        async || origin.get(&admin, "/admin/v1/quarantine").await.json()["items"].as_array().unwrap().len();
    assert_eq!(waiting().await, 1);

    let items = vec![at(EARLY, item(1, notes, &vera, &first)), at(EARLY + 9, item(2, notes, &vera, &second))];
    assert_eq!(codes(&push_of(&origin, "first", items).await), []);
    assert_eq!(waiting().await, 0, "it has come another way");
    // The second edge does not know it yet; its refusal is looked at again.
    origin.app.documents.quarantine("second", told(vec![refused("foreign-actor", &third)])).await.unwrap();
    assert_eq!(waiting().await, 0);
    assert_eq!(replica(&origin, notes).await.get_heads(), doc.get_heads());
    let forgery = edit(&mut doc, |tx| tx.put(ROOT, "a", "4").unwrap());
    let pushed = push_of(&origin, "second", vec![at(LATE, item(2, notes, &eve, &forgery))]).await;
    assert_eq!(codes(&pushed), [(2, "foreign-actor")]);
}
