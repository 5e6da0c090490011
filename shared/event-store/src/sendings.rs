//! Which commands have a sending at work in this process. While one is, another sending of the same
//! command that cannot be served must not be told "not done": the first one may take effect.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// The commands at work; as many as there are open commands at most.
#[derive(Debug, Default)]
pub(crate) struct Sendings {
    at_work: Mutex<HashMap<Uuid, usize>>,
}

/// One command at work, until [`Sending::end`] or until it is dropped.
#[derive(Debug)]
pub(crate) struct Sending {
    of: Option<(Arc<Sendings>, Uuid)>,
}

impl Sendings {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        // Nothing below can panic half-way through a change.
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(self: &Arc<Self>, command_id: Uuid) -> Sending {
        *self.lock().entry(command_id).or_default() += 1;
        Sending { of: Some((Arc::clone(self), command_id)) }
    }

    pub(crate) fn contains(&self, command_id: Uuid) -> bool {
        self.lock().contains_key(&command_id)
    }
}

impl Sending {
    /// The command's outcome is certain.
    pub(crate) fn end(&mut self) {
        let Some((sendings, command_id)) = self.of.take() else { return };
        let mut at_work = sendings.lock();
        if let Some(count) = at_work.get_mut(&command_id) {
            *count -= 1;
            if *count == 0 {
                at_work.remove(&command_id);
            }
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.end();
    }
}
