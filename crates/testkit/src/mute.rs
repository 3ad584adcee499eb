//! A file server that takes a request and never answers it, for processes in uninterruptible sleep.
//!
//! It refuses to outlive whoever started it for long: when it ends, the kernel lets everybody go.

/// A program for `python3 -S -c`, to be run as root with an empty directory: it mounts there, says
/// `mounted`, says `asked` when somebody waits for it without end, and waits to be ended. Who looks for
/// `x` in the directory is then in state D, and cannot be killed (Linux, `fuse_dev_do_read`: a request
/// that was taken is waited for, whatever comes).
pub const SERVER: &str = r#"
import ctypes, os, signal, struct, sys
place = sys.argv[1].encode()
server = os.open('/dev/fuse', os.O_RDWR)
options = b'fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other' % server
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'mute', place, b'fuse', 0, options): raise OSError(ctypes.get_errno(), 'mount')
print('mounted', flush=True)
INIT, GETATTR, LOOKUP = 26, 3, 1
while True:
    request = os.read(server, 1 << 20)
    _, what, number = struct.unpack('<IIQ', request[:16])
    if what == INIT:
        answer = struct.pack('<IIIIHHIIHHIIIIIIII', 7, 31, 0, 0, 12, 10, 65536, 1, *[0] * 10)
        os.write(server, struct.pack('<IiQ', 16 + len(answer), 0, number) + answer)
    if what == LOOKUP: break
    if what == GETATTR:
        attributes = struct.pack('<QIIQQQQQQIIIIIIIIII', 60, 0, 0, 1, *[0] * 8, 0o40755, 2, *[0] * 5)
        os.write(server, struct.pack('<IiQ', 16 + len(attributes), 0, number) + attributes)
print('asked', flush=True)
while True: signal.pause()
"#;
