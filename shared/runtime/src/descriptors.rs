//! File descriptors: a process takes as many as it is allowed.
//!
//! Many systems start processes with a low limit, for the sake of old programs, and a far higher one that
//! they may ask for. A port with a thousand connections needs that.

use std::net::SocketAddr;

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Besides connections: sessions, files, listeners, the runtime's own.
const OTHERS: u64 = 128;

/// Raises the limit to what the process may ask for.
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum || limit.maximum.is_none() {
        return;
    }
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => debug!(limit = limit.current, "file descriptors"),
        Err(error) => warn!(%error, "the limit of file descriptors stays as it was"),
    }
}

/// How many of these connections there are descriptors for. The rest of the process needs some as well, the
/// admin port first of all.
pub(crate) fn room_for(listen: SocketAddr, connections_max: u32) -> u32 {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return connections_max };
    let room = fitting(connections_max, limit);
    if room < connections_max {
        warn!(
            %listen,
            connections_max, room, limit, "file descriptors are too few for so many connections"
        );
    }
    room
}

fn fitting(connections_max: u32, limit: u64) -> u32 {
    let room = limit.saturating_sub(OTHERS).max(limit / 2).max(1);
    u32::try_from(room).map_or(connections_max, |room| room.min(connections_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        let cases = [(1024, 20_000, 1024), (1024, 1024, 896), (1024, 200, 100), (64, 1024, 64)];
        for (wanted, limit, room) in cases {
            assert_eq!(fitting(wanted, limit), room, "{wanted} of {limit}");
        }
        assert_eq!(fitting(u32::MAX, u64::MAX), u32::MAX);
        assert_eq!(fitting(5, 0), 1);
    }
}
