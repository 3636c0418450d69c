//! Empty: this package only names where C sources come from.
