//! Ports that have to be known before anything listens at them.

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::process;

/// Where ports are looked for: above those of well-known services.
const FIRST: u16 = 20_000;

/// What the system chooses from where it is asked for any port begins here, unless it says otherwise.
const CHOSEN: u16 = 32_768;

/// A port at which nothing listens, and at which nothing will but what this test has listen there.
///
/// A port that the system chose and that was given back is soon chosen for another process, so this one
/// is from the ports that it does not choose from. The UDP port of the same number stands for it
/// among tests: it is kept until the process ends.
pub(crate) fn reserved_port() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let chosen = range.split_whitespace().next();
    let chosen = chosen.and_then(|it| it.parse().ok()).unwrap_or(CHOSEN);
    let end = if chosen > FIRST { chosen } else { CHOSEN };
    let count = u32::from(end - FIRST);
    // Processes begin at different places, so that the first attempt succeeds nearly always.
    let start = process::id().wrapping_mul(211);
    let mut all = (0..count).map(|it| FIRST + (start.wrapping_add(it) % count) as u16);
    let port = all.find(|port| {
        let Ok(kept) = UdpSocket::bind(("127.0.0.1", *port)) else {
            return false;
        };
        let is_free = TcpStream::connect(("127.0.0.1", *port)).is_err();
        if is_free {
            std::mem::forget(kept);
        }
        is_free
    });
    port.expect("one of thousands of ports is free")
}
