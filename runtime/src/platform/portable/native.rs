//! Calls of the system as an attacker makes them, for tests: none here.
