//! The agent between a warden and a hub that are both played by the test.

use std::collections::BTreeMap;
use std::time::Duration;

use exeunt_domain::Jti;
use exeunt_ipc::message::{
    AgentAnswer, AgentRequest, Failure, UplinkRoute, WardenAnswer, WardenRequest,
};

use crate::stage::{Asked, Stage, enrolled, jti, session, uplink_set};

/// Long enough for a loaded machine; nothing waits for it to pass.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_acked_only_after_the_warden_said_done() {
    let mut stage = Stage::enrolled().await;
    stage.hub.send("a");
    let Asked { request, answer } = stage.warden.deliver().await;
    assert_eq!(request, WardenRequest::Deliver { set: "set-a".into() });
    // The agent does not poll while the warden has not answered.
    assert!(stage.hub.acks_so_far().is_empty());
    answer.send(WardenAnswer::Done).unwrap();
    stage.hub.acked(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_the_warden_refuses_goes_back_with_its_code() {
    let mut stage = Stage::enrolled().await;
    stage.hub.send("a");
    let failure = Failure { code: "invalid_audience".into(), message: "not me".into(), hint: None };
    stage.warden.deliver().await.answer.send(WardenAnswer::Failed(failure)).unwrap();
    let errors = stage.hub.refused().await;
    assert_eq!(errors[&jti("a")].err, "invalid_audience");
    assert!(stage.hub.acks_so_far().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warden_that_is_busy_is_asked_again_and_nothing_is_acked_before() {
    let mut stage = Stage::enrolled().await;
    stage.hub.send("a");
    let busy = Failure { code: "busy".into(), message: "later".into(), hint: None };
    stage.warden.deliver().await.answer.send(WardenAnswer::Failed(busy)).unwrap();
    let again = stage.warden.deliver().await;
    assert_eq!(again.request, WardenRequest::Deliver { set: "set-a".into() });
    assert!(stage.hub.acks_so_far().is_empty());
    again.answer.send(WardenAnswer::Done).unwrap();
    stage.hub.acked(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warden_restart_in_the_middle_neither_loses_nor_acks_early() {
    let mut stage = Stage::enrolled().await;
    stage.hub.send("a");
    let unanswered = stage.warden.deliver().await;
    stage.warden.stop();
    drop(unanswered);
    assert!(stage.hub.acks_so_far().is_empty());
    stage.warden.start();
    let again = stage.warden.deliver().await;
    assert_eq!(again.request, WardenRequest::Deliver { set: "set-a".into() });
    again.answer.send(WardenAnswer::Done).unwrap();
    stage.hub.acked(&["a"]).await;
    stage.hub.send("b");
    let next = stage.warden.deliver().await;
    assert_eq!(next.request, WardenRequest::Deliver { set: "set-b".into() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uplinked_sets_reach_the_hub_in_order_and_are_reported_as_accepted() {
    let mut stage = Stage::enrolled().await;
    stage.warden.uplink(vec![uplink_set("1"), uplink_set("2"), uplink_set("3")]);
    let results = stage.warden.results().await;
    assert_eq!(results.0, [jti("1"), jti("2"), jti("3")]);
    assert_eq!(stage.hub.pushed(), ["up-1", "up-2", "up-3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_the_hub_refuses_is_reported_with_its_code_and_holds_up_nothing() {
    let mut stage = Stage::enrolled().await;
    stage.hub.refuse("up-1", "invalid_issuer");
    stage.warden.uplink(vec![uplink_set("1"), uplink_set("2")]);
    let (accepted, refused) = stage.warden.results().await;
    assert_eq!(accepted, [jti("2")]);
    assert_eq!(refused, BTreeMap::from([(jti("1"), "invalid_issuer".to_owned())]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_away_gets_everything_once_it_is_back_in_the_order_of_signing() {
    let mut stage = Stage::enrolled().await;
    stage.hub.break_down();
    stage.warden.uplink(vec![uplink_set("1"), uplink_set("2")]);
    stage.hub.turned_away().await;
    assert!(stage.hub.pushed().is_empty());
    stage.hub.repair();
    // Someone at the device looks, so that the agent does not sit out its wait.
    stage.ask_agent(AgentRequest::Status).await;
    let (accepted, refused): (Vec<Jti>, _) = stage.warden.results().await;
    assert_eq!(accepted, [jti("1"), jti("2")]);
    assert!(refused.is_empty());
    assert_eq!(stage.hub.pushed(), ["up-1", "up-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolment_s_reply_goes_to_the_warden_and_the_agent_then_polls_that_hub() {
    let mut stage = Stage::unenrolled().await;
    let hub = stage.hub.url();
    let mut enrolment = uplink_set("1");
    enrolment.to = UplinkRoute::Enrolment { hub: hub.clone() };
    stage.warden.uplink(vec![enrolment]);
    let reply = stage.warden.deliver().await;
    assert_eq!(reply.request, WardenRequest::Deliver { set: enrolled() });
    reply.answer.send(WardenAnswer::Done).unwrap();
    assert_eq!(stage.warden.results().await.0, [jti("1")]);
    stage.hub.send("a");
    let order = stage.warden.deliver().await;
    assert_eq!(order.request, WardenRequest::Deliver { set: "set-a".into() });
    order.answer.send(WardenAnswer::Done).unwrap();
    stage.hub.acked(&["a"]).await;
    stage.restart_agent();
    stage.hub.send("b");
    let after = stage.warden.deliver().await;
    assert_eq!(after.request, WardenRequest::Deliver { set: "set-b".into() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_restart_in_the_middle_delivers_again_what_was_not_acked() {
    let mut stage = Stage::enrolled().await;
    stage.hub.send("a");
    let _unanswered = stage.warden.deliver().await;
    stage.restart_agent();
    let again = stage.warden.deliver().await;
    assert_eq!(again.request, WardenRequest::Deliver { set: "set-a".into() });
    assert!(stage.hub.acks_so_far().is_empty());
    again.answer.send(WardenAnswer::Done).unwrap();
    stage.hub.acked(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_the_warden_does_not_believe_enrols_nothing() {
    let mut stage = Stage::unenrolled().await;
    let mut enrolment = uplink_set("1");
    enrolment.to = UplinkRoute::Enrolment { hub: stage.hub.url() };
    stage.warden.uplink(vec![enrolment]);
    let failure = Failure { code: "invalid_key".into(), message: "who?".into(), hint: None };
    stage.warden.deliver().await.answer.send(WardenAnswer::Failed(failure)).unwrap();
    assert_eq!(stage.warden.results().await.1[&jti("1")], "invalid_key");
    let AgentAnswer::Status(link) = stage.ask_agent(AgentRequest::Status).await else { panic!() };
    assert_eq!(link.hub, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolment_towards_another_machine_in_clear_is_refused_without_a_connection() {
    let mut stage = Stage::unenrolled().await;
    let mut enrolment = uplink_set("1");
    enrolment.to = UplinkRoute::Enrolment { hub: "http://hub.example".into() };
    stage.warden.uplink(vec![enrolment]);
    let (accepted, refused) = stage.warden.results().await;
    assert!(accepted.is_empty());
    assert_eq!(refused[&jti("1")], "invalid_request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_sees_the_sessions_of_their_own_subject_alone() {
    let stage = Stage::enrolled().await;
    stage.hub.polled().await;
    let me = rustix::process::geteuid().as_raw();
    // The warden is wrong here, and names another user's session too.
    stage.warden.sessions(vec![session(me, "alice"), session(me + 1, "bob")]);
    let answer = stage.ask_agent(AgentRequest::HubSessions).await;
    let AgentAnswer::Sessions { sessions } = answer else { panic!("{answer:?}") };
    assert_eq!(sessions.len(), 1);
    assert_eq!(stage.hub.subjects_asked(), ["alice"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_without_a_session_is_told_so_and_the_hub_is_not_asked() {
    let stage = Stage::enrolled().await;
    let answer = stage.ask_agent(AgentRequest::HubSessions).await;
    let AgentAnswer::Failed(failure) = answer else { panic!("{answer:?}") };
    assert_eq!(failure.code, "no_session");
    assert!(stage.hub.subjects_asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_tells_a_hub_that_answers_from_one_that_does_not() {
    let stage = Stage::enrolled().await;
    stage.hub.polled().await;
    let link = tokio::time::timeout(SOON, async {
        loop {
            let answer = stage.ask_agent(AgentRequest::Status).await;
            let AgentAnswer::Status(link) = answer else { panic!("{answer:?}") };
            if link.reachable {
                return link;
            }
            tokio::task::yield_now().await;
        }
    });
    let link = link.await.unwrap();
    assert_eq!(link.hub, Some(stage.hub.url()));
    assert!(link.answered.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_a_stranger_s_version_and_an_oversized_frame_are_refused_by_name() {
    let stage = Stage::enrolled().await;
    let order = r#"{"v":1,"request":{"ask":"close","tier":"sign-out","surface":"cli"}}"#;
    let newer = r#"{"v":2,"request":{"ask":"status"}}"#;
    for (text, code) in [(order, "invalid_request"), (newer, "unsupported_version")] {
        let answer = stage.send_agent(&frame(text)).await;
        let Some(AgentAnswer::Failed(failure)) = answer else { panic!("{answer:?}") };
        assert_eq!(failure.code, code, "{text}");
    }
    let answer = stage.send_agent(&u32::MAX.to_be_bytes()).await;
    let Some(AgentAnswer::Failed(failure)) = answer else { panic!("{answer:?}") };
    assert_eq!(failure.code, "invalid_request");
}

fn frame(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}
