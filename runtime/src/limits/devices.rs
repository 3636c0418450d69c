//! How much may be read from and written to devices in a second: a short list, which is a value as
//! every other limit.

use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::platform::machine;

use super::Limit;

/// A block device of this host: a whole one, by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    major: u32,
    minor: u32,
}

/// What a path is that is no device which can be limited.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It cannot be looked at.
    #[error("cannot find the device `{}`", path.display())]
    Find {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a file, a directory, a terminal or the like.
    #[error("`{}` is no block device; {}", path.display(), machine::DEVICES_ADVICE)]
    NoDevice {
        /// The path.
        path: PathBuf,
    },
    /// It is a part of one.
    #[error("`{}` is a partition, and only a whole device can be limited: name {disk}", path.display())]
    Partition {
        /// The path.
        path: PathBuf,
        /// The device that it is a part of.
        disk: String,
    },
}

impl Device {
    /// The device that a path leads to now.
    ///
    /// # Errors
    ///
    /// Fails where that is no block device, or only a partition of one.
    pub fn find(path: impl AsRef<Path>) -> Result<Self, DeviceError> {
        let path = path.as_ref();
        let found = machine::block_device(path)
            .map_err(|source| DeviceError::Find { path: path.to_owned(), source })?;
        let (major, minor) =
            found.ok_or_else(|| DeviceError::NoDevice { path: path.to_owned() })?;
        if let Some(disk) = machine::disk_of((major, minor)) {
            return Err(DeviceError::Partition { path: path.to_owned(), disk });
        }
        Ok(Self { major, minor })
    }

    /// The device of these numbers, whether it is there or not.
    pub const fn of_numbers(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Its numbers.
    pub const fn numbers(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// How many devices can have a limit: more than hosts have disks, most of them, and few enough to be
/// handed on with all other limits.
const DEVICES_MAX: usize = 8;

/// What is asked for one device: an amount a second, or none.
type Rate<T> = (Device, Option<T>);

/// Amounts a second, each of a device: no more than [`Rates::DEVICES_MAX`] of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rates<T> {
    /// In the order of the devices, the taken ones first.
    rates: [Option<Rate<T>>; DEVICES_MAX],
    /// Whether there was no room for one: it is refused where it is to be held.
    is_too_long: bool,
}

impl<T> Default for Rates<T> {
    fn default() -> Self {
        Self { rates: [const { None }; DEVICES_MAX], is_too_long: false }
    }
}

impl<T: Copy> Rates<T> {
    /// How many devices can have a limit.
    pub const DEVICES_MAX: usize = DEVICES_MAX;

    /// These, and this amount a second for a device.
    #[must_use]
    pub fn with(self, device: Device, amount: T) -> Self {
        self.set(device, Some(amount))
    }

    /// These, and said of a device that it has no limit.
    #[must_use]
    pub fn without(self, device: Device) -> Self {
        self.set(device, None)
    }

    fn set(mut self, device: Device, amount: Option<T>) -> Self {
        let place = self.rates.iter().position(|rate| match rate {
            Some((other, _)) => *other == device,
            None => true,
        });
        match place {
            Some(place) => self.rates[place] = Some((device, amount)),
            None => self.is_too_long = true,
        }
        self.rates.sort_by_key(|rate| rate.map_or((true, device), |(device, _)| (false, device)));
        self
    }

    /// These, but for what `changes` says.
    pub(super) fn changed_by(self, changes: &Self) -> Self {
        let mut all = changes.all().fold(self, |all, (device, amount)| all.set(device, amount));
        all.is_too_long |= changes.is_too_long;
        all
    }

    /// Whether more devices were named than can be held.
    pub(crate) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// What was said of each device.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Device, Option<T>)> {
        self.rates.iter().copied().flatten()
    }

    /// The devices that have a limit, each with its amount a second.
    pub fn iter(&self) -> impl Iterator<Item = (Device, T)> {
        self.all().filter_map(|(device, amount)| Some((device, amount?)))
    }

    /// The amount a second of a device, where it has a limit.
    pub fn of(&self, device: Device) -> Option<T> {
        self.iter().find(|(other, _)| *other == device).map(|(_, amount)| amount)
    }

    /// These, without what was said of devices that have no limit; nothing where that is all.
    pub(super) fn held(&self) -> Option<Self> {
        let held =
            self.iter().fold(Self::default(), |all, (device, amount)| all.with(device, amount));
        held.rates[0].is_some().then_some(held)
    }
}

impl<T: Copy + fmt::Display> fmt::Display for Rates<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (device, amount)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{device} {amount}")?;
        }
        Ok(())
    }
}

impl<T: Copy> Limit<Rates<T>> {
    /// The other one, if that says anything; what it does not say of a device stays.
    pub(super) fn merged_with(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Of(rates), Self::Of(changes)) => Self::Of(rates.changed_by(changes)),
            _ => self.changed_by(*other),
        }
    }

    /// What holds: nothing where no device has a limit.
    pub(super) fn held(&self) -> Option<Rates<T>> {
        match self {
            Self::Of(rates) => rates.held(),
            Self::Default | Self::Unlimited => None,
        }
    }

    pub(super) fn is_too_long(&self) -> bool {
        matches!(self, Self::Of(rates) if rates.is_too_long())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(minor: u32) -> Device {
        Device::of_numbers(8, minor)
    }

    #[test]
    fn rates_are_one_for_each_device_and_changed_device_by_device() {
        let rates = Rates::default().with(device(2), 7).with(device(1), 5).with(device(2), 9);
        assert_eq!(rates.to_string(), "8:1 5, 8:2 9");
        let changed = rates.changed_by(&Rates::default().without(device(1)).with(device(3), 1));
        assert_eq!(changed.to_string(), "8:2 9, 8:3 1");
        assert_eq!(changed.of(device(1)), None);
        assert_eq!(changed.held().map(|rates| rates.all().count()), Some(2));
        assert_eq!(Rates::<u32>::default().without(device(1)).held(), None);
        assert_eq!(
            Rates::default().with(device(1), 1).with(device(2), 2),
            Rates::default().with(device(2), 2).with(device(1), 1),
            "their order is no difference"
        );
    }

    #[test]
    fn more_devices_than_can_be_held_are_not_forgotten_in_silence() {
        let full = (0..8).fold(Rates::default(), |all, minor| all.with(device(minor), 1_u32));
        assert!(!full.is_too_long());
        assert!(full.with(device(8), 1).is_too_long());
        assert!(full.changed_by(&Rates::default().with(device(8), 1)).is_too_long());
        assert!(!full.with(device(7), 3).is_too_long());
    }

    #[test]
    fn what_is_no_block_device_is_refused_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let error = Device::find(folder.path().join("absent")).unwrap_err();
        assert!(matches!(error, DeviceError::Find { .. }), "{error}");
        let error = Device::find(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is no block device; name one"), "{error}");
    }
}
