//! Replays the fuzz corpus of local messages.

use exeunt_ipc::message::{AgentRequest, Call, WardenRequest};
use exeunt_ipc::read_frame;

#[test]
fn every_frame_of_the_corpus_is_a_message_or_an_error() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/ipc");
    let (mut messages, mut errors) = (0, 0);
    for entry in std::fs::read_dir(dir).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let _agent = read_frame::<Call<AgentRequest>>(&mut bytes.as_slice());
        match read_frame::<Call<WardenRequest>>(&mut bytes.as_slice()) {
            Ok(_) => messages += 1,
            Err(_) => errors += 1,
        }
    }
    assert!(messages >= 2 && errors >= 4, "{messages} messages, {errors} errors");
}
