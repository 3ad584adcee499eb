//! Frames: a 32-bit big-endian length and that many bytes of JSON.
//!
//! It refuses frames over [`MAX_FRAME_BYTES`] before it allocates for them.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest frame either side sends or takes, in bytes.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The other side closed between two frames.
    #[error("the other side closed the connection")]
    Closed,
    /// The length is over [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLong(usize),
    /// The bytes are not the message that was expected.
    #[error("not a message: {0}")]
    Malformed(#[source] serde_json::Error),
    /// The connection broke.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
}

/// Reads one frame.
///
/// # Errors
/// [`CodecError::Closed`] at a clean end, the others as they are named.
pub fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, CodecError> {
    let mut length = [0_u8; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(CodecError::Closed);
        }
        Err(error) => return Err(error.into()),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(CodecError::TooLong(length));
    }
    let mut body = Vec::with_capacity(length.min(64 << 10));
    let read = from.take(length as u64).read_to_end(&mut body)?;
    if read < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    serde_json::from_slice(&body).map_err(CodecError::Malformed)
}

/// Writes one frame and flushes it.
///
/// # Errors
/// [`CodecError::TooLong`] or [`CodecError::Io`].
pub fn write_frame<T: Serialize>(to: &mut impl Write, message: &T) -> Result<(), CodecError> {
    let body = serde_json::to_vec(message).map_err(CodecError::Malformed)?;
    if body.len() > MAX_FRAME_BYTES {
        return Err(CodecError::TooLong(body.len()));
    }
    let length = u32::try_from(body.len()).map_err(|_| CodecError::TooLong(body.len()))?;
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame)?;
    to.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Call, VERSION, WardenRequest};
    use proptest::prelude::*;

    #[test]
    fn reads_back_what_it_wrote() {
        let call = Call { v: VERSION, request: WardenRequest::Status };
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &call).unwrap();
        let back: Call<WardenRequest> = read_frame(&mut bytes.as_slice()).unwrap();
        assert_eq!(back, call);
    }

    #[test]
    fn refuses_a_length_over_the_limit_without_reading_on() {
        let bytes = u32::MAX.to_be_bytes();
        let error = read_frame::<serde_json::Value>(&mut bytes.as_slice()).unwrap_err();
        assert!(matches!(error, CodecError::TooLong(_)), "{error}");
    }

    #[test]
    fn tells_a_clean_end_from_a_torn_frame() {
        let clean = read_frame::<serde_json::Value>(&mut [].as_slice()).unwrap_err();
        assert!(matches!(clean, CodecError::Closed));
        let torn = read_frame::<serde_json::Value>(&mut [0, 0, 0, 9, b'{'].as_slice()).unwrap_err();
        assert!(matches!(torn, CodecError::Io(_)), "{torn}");
    }

    #[test]
    fn refuses_unknown_requests_and_fields() {
        for text in [
            r#"{"v":1,"request":{"ask":"format_disk"}}"#,
            r#"{"v":1,"request":{"ask":"status"},"path":"/etc"}"#,
            r#"{"v":1,"request":{"ask":"survey","path":"/etc"}}"#,
        ] {
            assert!(serde_json::from_str::<Call<WardenRequest>>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_a_message_and_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..512)
        ) {
            let _ = read_frame::<Call<WardenRequest>>(&mut bytes.as_slice());
        }
    }
}
