//! How many may speak to a keeper at the same moment, by what they do: so many who say nothing or only
//! watch that they keep nobody from ordering its end.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::roster::Request;

/// How many may be there who have not said yet what they want. Who comes when there are so many has
/// the one leave who is silent for longest.
const SILENT_MAX: usize = 64;

/// What somebody does at a keeper. Each has room for so many, and takes none of the others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Is attached, or waits for an end, for as long as he likes.
    Watching,
    /// Runs a program beside the guest, for which the keeper has about ten files open: all places
    /// together take less than the thousand that a process may have.
    Running,
    /// Has something done or told that takes no time.
    Ordering,
    /// Waits until the guest has stopped, as was ordered.
    Stopping,
}

impl Place {
    #[cfg(test)]
    const ALL: [Self; 4] = [Self::Watching, Self::Running, Self::Ordering, Self::Stopping];

    /// What a request is at first. Who has the guest stop is heard before he has a place.
    pub(super) const fn of(request: &Request) -> Option<Self> {
        match request {
            Request::Stop { .. } => None,
            Request::Attach | Request::Wait => Some(Self::Watching),
            Request::Exec(_) => Some(Self::Running),
            Request::Kill { .. }
            | Request::Update(_)
            | Request::Pause
            | Request::Resume
            | Request::Stats
            | Request::Rename
            | Request::Files(_) => Some(Self::Ordering),
        }
    }

    const fn most(self) -> usize {
        match self {
            Self::Watching => 128,
            Self::Running => 48,
            Self::Ordering | Self::Stopping => 64,
        }
    }

    /// Why there is no room.
    fn is_full(self) -> String {
        let most = self.most();
        match self {
            Self::Watching => format!(
                "{most} watch it or wait for its end already, as many as may: end some of `aril attach` \
                 and `aril wait`"
            ),
            Self::Running => format!(
                "{most} programs run beside it already, as many as may: end some of `aril exec`"
            ),
            Self::Ordering => {
                format!("{most} ask something of it at this moment, as many as may: try again")
            }
            Self::Stopping => format!(
                "it is asked to stop, and {most} wait for that already, as many as may: look with `aril \
                 ps` whether it has"
            ),
        }
    }
}

/// Those who are there.
#[derive(Debug, Default)]
pub(super) struct Askers {
    /// The first has been silent for longest.
    silent: RefCell<VecDeque<(u64, Rc<Notify>)>>,
    came: Cell<u64>,
    seated: [Cell<usize>; 4],
    /// How many there are, what they do and whether it is counted.
    all: Cell<usize>,
}

/// Somebody who is there, until this is dropped.
#[derive(Debug)]
pub(super) struct Visitor(Rc<Askers>);

/// Somebody who has not said yet what he wants, until this is dropped.
#[derive(Debug)]
pub(super) struct Silent {
    askers: Rc<Askers>,
    number: u64,
    is_sent_away: Rc<Notify>,
}

/// A place that somebody has, until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    askers: Rc<Askers>,
    place: Place,
}

impl Askers {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.get()
    }

    /// One more is there.
    pub(super) fn enter(self: &Rc<Self>) -> Visitor {
        self.all.set(self.all.get() + 1);
        Visitor(Rc::clone(self))
    }

    /// One more who has said nothing yet. Where that are too many, the first of them is sent away.
    pub(super) fn listen_to(self: &Rc<Self>) -> Silent {
        let mut silent = self.silent.borrow_mut();
        if SILENT_MAX <= silent.len()
            && let Some((_, first)) = silent.pop_front()
        {
            first.notify_one();
        }
        let number = self.came.get();
        self.came.set(number + 1);
        let is_sent_away = Rc::new(Notify::new());
        silent.push_back((number, Rc::clone(&is_sent_away)));
        Silent { askers: Rc::clone(self), number, is_sent_away }
    }

    /// Takes a place, or says why there is none.
    pub(super) fn sit(self: &Rc<Self>, place: Place) -> Result<Seat, String> {
        let count = self.seated_at(place);
        if place.most() <= count.get() {
            return Err(place.is_full());
        }
        count.set(count.get() + 1);
        Ok(Seat { askers: Rc::clone(self), place })
    }

    fn seated_at(&self, place: Place) -> &Cell<usize> {
        let [watching, running, ordering, stopping] = &self.seated;
        match place {
            Place::Watching => watching,
            Place::Running => running,
            Place::Ordering => ordering,
            Place::Stopping => stopping,
        }
    }
}

impl Silent {
    /// Waits until he is to leave, and says why.
    pub(super) async fn sent_away(&self) -> String {
        self.is_sent_away.notified().await;
        format!("nothing was asked while {SILENT_MAX} others came: try again")
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.0.all.set(self.0.all.get() - 1);
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.askers.silent.borrow_mut().retain(|(number, _)| *number != self.number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let count = self.askers.seated_at(self.place);
        count.set(count.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_room_of_its_own_and_says_when_that_is_taken() {
        let askers = Rc::<Askers>::default();
        for place in Place::ALL {
            let seats: Vec<_> = (0..place.most()).map(|_| askers.sit(place)).collect();
            assert!(seats.iter().all(Result::is_ok));
            let refused = askers.sit(place).expect_err("as many as may");
            assert!(refused.contains("as many as may"), "{refused}");
            for other in Place::ALL.into_iter().filter(|other| *other != place) {
                drop(askers.sit(other).expect("room of its own"));
            }
            drop(seats);
            drop(askers.sit(place).expect("room again"));
        }
    }

    #[tokio::test]
    async fn who_is_silent_for_longest_leaves_for_who_comes() {
        let askers = Rc::<Askers>::default();
        let mut all: VecDeque<_> = (0..SILENT_MAX).map(|_| askers.listen_to()).collect();
        // One who has spoken is none of them.
        drop(all.remove(1));
        all.push_back(askers.listen_to());
        let last = askers.listen_to();
        let said = all[0].sent_away().await;
        assert!(said.contains("nothing was asked"), "{said}");
        assert_eq!(askers.silent.borrow().len(), SILENT_MAX);
        drop((all, last));
        assert_eq!(askers.silent.borrow().len(), 0);
    }
}
