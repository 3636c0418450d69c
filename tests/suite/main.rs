//! One binary with every promise, so that the engine is linked once.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

// How tests find programs, guests and folders.
mod support;

// The house keeps its own rules.
mod architecture;

// The same end and record through every door.
mod conformance;

// Ends come in time, and say why.
mod ends;

// What the documents show is what happens.
mod readme;

// Images made by hand.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod layouts;

// Images come, are named, and go; what is broken never gets in.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod images;

// Images are made of wasm files and Dockerfiles, and the same input is the same image.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod build;

// The files of images are what a guest sees, and stay as they are.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod image_files;

// Volumes outlive runs, and are granted by name.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod volumes;

// What a guest writes over an image's files is held to a size.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod disk;

// A real registry.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod docker_registry;

// Images go to a registry and come back.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod registry;

// A program under a tracer.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod traced;

// The store survives kills, losses of power and disks that fail, at every step.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod crash;

// A guest's process is where its host wants it.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod placement;

// Guests of a few lines.
mod guests;

// How long tests of the library wait.
mod waiting;

// A registry of the tests' own, which misbehaves.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod hostile;

// A guest in a process of its own.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod groups;
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod pause;
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod workers;

// Figures are scraped, and spans are told.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod metrics;
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod spans;

// Sandboxes that go on alone.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod residents;

// What is mounted for one guest.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod mounts;

// Images that others make run unchanged.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod writers;

// The OCI runtime keeps the states, hooks and ends that engines know.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod oci;

// Containerd runs containers, as Kubernetes asks it to.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod containerd;

// Images that are made here are pulled by others.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod pull_matrix;

// What is pulled is held to a policy, and what is pushed can be signed.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod signatures;

// What is compiled is compiled once, and what is loaded is ours: by owners, modes and links.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod cache;

// Attacks on the host, by number: `tests/attacks.toml`.
#[cfg(all(target_os = "linux", not(aril_portable)))]
mod attacks;

// What a guest may touch, and what the verbs say.
mod run;

// What makes no sense is one clear error.
mod bad_input;

// Many sandboxes in one process.
mod library;
