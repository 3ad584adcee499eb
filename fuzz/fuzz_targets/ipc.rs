//! Any bytes on either local socket: a message or an error, never a panic.
#![no_main]

use exeunt_ipc::message::{AgentRequest, Call, WardenAnswer, WardenRequest};
use exeunt_ipc::read_frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = read_frame::<Call<WardenRequest>>(&mut &bytes[..]);
    let _ = read_frame::<Call<AgentRequest>>(&mut &bytes[..]);
    let _ = read_frame::<WardenAnswer>(&mut &bytes[..]);
});
