//! What signals do to a guest, which hears none: what each does to a program that says nothing about it.

/// What a signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Nothing: it asks whether somebody is there, or tells what no guest listens to.
    Nothing,
    /// It asks to stop: the guest's input ends, and it has the grace that is configured.
    Stop,
    /// It ends the guest at once.
    End(i32),
}

/// A signal that no guest can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoDeed {
    /// It has programs stand still.
    #[error("signal {0} has a program stand still: pause the container instead")]
    StandsStill(u32),
    /// There is none of this number.
    #[error("{0} is the number of no signal")]
    Nowhere(u32),
}

/// The number of the signal that asks to stop, and of the one that cannot be refused.
const TERM: u32 = 15;
pub(crate) const KILL: i32 = 9;

/// The highest number.
const MAX: u32 = 64;

/// Those that programs ignore by themselves: a child, going on, urgent data and the size of a window.
const IGNORED: [u32; 4] = [17, 18, 23, 28];

/// Those that have a program stand still.
const STOPPING: [u32; 4] = [19, 20, 21, 22];

/// What a signal of this number does.
pub(crate) fn deed(signal: u32) -> Result<Deed, NoDeed> {
    match signal {
        0 => Ok(Deed::Nothing),
        TERM => Ok(Deed::Stop),
        _ if IGNORED.contains(&signal) => Ok(Deed::Nothing),
        _ if STOPPING.contains(&signal) => Err(NoDeed::StandsStill(signal)),
        1..=MAX => Ok(Deed::End(signal.cast_signed())),
        _ => Err(NoDeed::Nowhere(signal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_does_what_it_does_to_a_program_that_says_nothing_about_it() {
        for (signal, expected) in [
            (0, Some(Deed::Nothing)),
            (15, Some(Deed::Stop)),
            (9, Some(Deed::End(9))),
            (2, Some(Deed::End(2))),
            (64, Some(Deed::End(64))),
            (28, Some(Deed::Nothing)),
            (19, None),
            (65, None),
            (u32::MAX, None),
        ] {
            assert_eq!(deed(signal).ok(), expected, "{signal}");
        }
    }
}
