//! From a wasm file and what it needs, or from a Dockerfile, to an image: the same image from the
//! same files, on every host.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use crate::content::Lease;
use crate::content::Store;
use crate::engine::describe;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::Descriptor;
use crate::image::Execution;
use crate::image::Image;
use crate::image::ImageConfig;
use crate::image::Reference;
use crate::rootfs::Changes;
use crate::rootfs::Node;
use crate::rootfs::Tree;

use super::assets::Copied;
use super::assets::add_layer;
use super::assets::invalid;
use super::assets::make_directory;
use super::assets::of_layer;
use super::assets::of_store;
use super::assets::verify_guest;
use super::forms::add_artifact;
use super::forms::add_image;
use super::forms::read_wasm;
use super::images::Failure;
use super::images::failed;
use super::images::image_of;
use super::recipe::Recipe;
use super::runtime::Runtime;
use super::spans;
use super::stages::history;

/// The latest time that a plain header of an archive has room for, in seconds since 1970.
const CREATED_MAX: u64 = (8 << 30) - 1;

/// In which form an image is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageFormat {
    /// Files in a layer, with arguments and environment, for `wasi/wasm`, `linux/amd64` and
    /// `linux/arm64`: what every container tool pulls.
    #[default]
    Image,
    /// The artifact of the CNCF's `wasm-oci-artifact`: the wasm file, and nothing else.
    Artifact,
    /// Both under one name: an index of the image for its three platforms, and of the artifact. Who
    /// looks for an image finds the image.
    Both,
}

/// What an image is made from.
#[derive(Clone, Debug)]
enum Origin {
    Wasm(PathBuf),
    Dockerfile(Recipe),
}

/// What an image is to be made of.
///
/// The same files and the same words make the same image, whenever and wherever it is built: all
/// in it is as old as [`created`](Self::created) says, and belongs to nobody.
#[derive(Clone, Debug)]
pub struct Build {
    origin: Origin,
    format: ImageFormat,
    copies: Vec<Copied>,
    entrypoint: Vec<String>,
    command: Vec<String>,
    // In the order in which they were first given.
    env: Vec<(String, String)>,
    labels: BTreeMap<String, String>,
    working_directory: Option<String>,
    author: Option<String>,
    created: Option<u64>,
}

impl Build {
    /// An image of this program: a `.wasm` or `.wat` file, decided by its content.
    ///
    /// It is at the image's root under the file's own name, with `.wasm` for `.wat`.
    pub fn new(wasm: impl Into<PathBuf>) -> Self {
        Self::of(Origin::Wasm(wasm.into()))
    }

    /// An image as a Dockerfile says, which copies files of a directory, the *context*.
    ///
    /// It is `Dockerfile` or else `Containerfile` in the context. What `.dockerignore` says is left
    /// out. There is no guest OS, so `RUN` is refused; stages that are not needed are not looked at.
    pub fn dockerfile(context: impl Into<PathBuf>) -> Self {
        Self::of(Origin::Dockerfile(Recipe::new(context.into())))
    }

    fn of(origin: Origin) -> Self {
        Self {
            origin,
            format: ImageFormat::default(),
            copies: Vec::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: Vec::new(),
            labels: BTreeMap::new(),
            working_directory: None,
            author: None,
            created: None,
        }
    }

    /// Where the Dockerfile is, if it is elsewhere or called otherwise.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        if let Origin::Dockerfile(recipe) = &mut self.origin {
            recipe.file = Some(path.into());
        }
        self
    }

    /// What the Dockerfile says, where it is no file of this host. In errors it is called `-`.
    #[must_use]
    pub fn text(mut self, text: impl Into<Vec<u8>>) -> Self {
        if let Origin::Dockerfile(recipe) = &mut self.origin {
            recipe.text = Some(text.into());
        }
        self
    }

    /// The stage of the Dockerfile that becomes the image: its name or number. Without it, the last.
    #[must_use]
    pub fn target(mut self, stage: impl Into<String>) -> Self {
        if let Origin::Dockerfile(recipe) = &mut self.origin {
            recipe.target = Some(stage.into());
        }
        self
    }

    /// What an `ARG` of the Dockerfile stands for. One that it does not have changes nothing: see
    /// [`unused_arguments`](Self::unused_arguments).
    ///
    /// `TARGETPLATFORM` and `BUILDPLATFORM` (`wasi/wasm`), `TARGETOS` and `BUILDOS`, `TARGETARCH` and
    /// `BUILDARCH`, `TARGETVARIANT` and `BUILDVARIANT` (nothing) are there for whatever declares them.
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Origin::Dockerfile(recipe) = &mut self.origin {
            recipe.arguments.insert(name.into(), value.into());
        }
        self
    }

    /// The images that the Dockerfile needs, so that they can be pulled: those of the stages that
    /// are needed. A wasm file needs none.
    ///
    /// # Errors
    ///
    /// Fails where the Dockerfile cannot be read, or is none.
    pub fn bases(&self) -> Result<Vec<Reference>, Error> {
        match &self.origin {
            Origin::Wasm(_) => Ok(Vec::new()),
            Origin::Dockerfile(recipe) => recipe.bases().map_err(|failure| self.failed(failure)),
        }
    }

    /// The arguments that were given and that the Dockerfile does not declare. Docker warns of them.
    ///
    /// # Errors
    ///
    /// As [`bases`](Self::bases).
    pub fn unused_arguments(&self) -> Result<Vec<String>, Error> {
        match &self.origin {
            Origin::Wasm(_) => Ok(Vec::new()),
            Origin::Dockerfile(recipe) => {
                recipe.unused_arguments().map_err(|failure| self.failed(failure))
            }
        }
    }

    fn failed(&self, (kind, source): Failure) -> Error {
        let path = match &self.origin {
            Origin::Wasm(wasm) => wasm.clone(),
            Origin::Dockerfile(recipe) => recipe.path(),
        };
        failed("build", path.display(), kind, source)
    }

    /// In which form it is written.
    #[must_use]
    pub fn format(mut self, format: ImageFormat) -> Self {
        self.format = format;
        self
    }

    /// Copies a file or a directory of this host into the image, as docker's `COPY` does.
    ///
    /// `guest` is an absolute path without `..`. Of a directory, what is in it is copied into
    /// `guest`. A file becomes `guest`; where that ends in `/`, or is a directory by an earlier
    /// copy, it is put into it under its own name. `host` may be a symbolic link; links that are
    /// found inside are copied as links. What is copied later replaces what was copied before, and
    /// the program replaces both.
    #[must_use]
    pub fn copy(mut self, host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        self.copies.push(Copied { host: host.into(), guest: guest.into() });
        self
    }

    /// The program, as a path in the image, and the arguments that are always there. Without it,
    /// the program is the wasm file.
    #[must_use]
    pub fn entrypoint<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// The arguments unless others are given to a run.
    #[must_use]
    pub fn command<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }

    /// A variable that the program sees. A later value replaces an earlier one.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.env.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.env.push((name, value)),
        }
        self
    }

    /// What else is told of the image. A later value replaces an earlier one.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// The directory in which the program starts: an absolute path, which is made.
    #[must_use]
    pub fn working_directory(mut self, guest: impl Into<String>) -> Self {
        self.working_directory = Some(guest.into());
        self
    }

    /// Who made it.
    #[must_use]
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.author = Some(author.into());
        self
    }

    /// When it was made, in seconds since 1970: so old are its files. Without it, 1970, so that it
    /// does not depend on when it is built; an artifact then does not say.
    #[must_use]
    pub fn created(mut self, seconds: u64) -> Self {
        self.created = Some(seconds);
        self
    }

    /// Refuses what makes no sense.
    fn verify(&self) -> Result<(), Failure> {
        if let Some(created) = self.created.filter(|created| CREATED_MAX < *created) {
            return Err(invalid(format!("it cannot be made {created} seconds after 1970")));
        }
        let is_artifact = self.format == ImageFormat::Artifact;
        let is_told = matches!(self.origin, Origin::Dockerfile(_));
        if is_artifact && is_told {
            return Err(invalid(
                "an artifact is a wasm file alone: build it from that, or both by one name",
            ));
        }
        if is_artifact || is_told {
            let given = [
                ("files", !self.copies.is_empty()),
                ("an entrypoint", !self.entrypoint.is_empty()),
                ("arguments", !self.command.is_empty()),
                ("variables", !self.env.is_empty()),
                ("labels", !self.labels.is_empty() && is_artifact),
                ("a working directory", self.working_directory.is_some()),
            ];
            return match given.iter().find(|(_, given)| *given) {
                Some((what, _)) if is_told => Err(invalid(format!(
                    "with a Dockerfile, it alone says what is in the image: write {what} there"
                ))),
                Some((what, _)) => Err(invalid(format!(
                    "an artifact is the wasm file alone, and has no room for {what}: build an image"
                ))),
                None => Ok(()),
            };
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let name = name.escape_debug();
                return Err(invalid(format!("`{name}` cannot be a variable's name and value")));
            }
        }
        if self.labels.contains_key("") {
            return Err(invalid("a label has no key"));
        }
        let words = self.entrypoint.iter().chain(&self.command);
        if let Some(word) = words.clone().find(|word| word.contains('\0')) {
            let word = word.escape_debug();
            return Err(invalid(format!("the argument `{word}` has a zero in it")));
        }
        if self.entrypoint.first().is_some_and(String::is_empty) {
            return Err(invalid("the entrypoint names no program"));
        }
        let copied = self.copies.iter().map(|copied| copied.guest.as_str());
        copied.chain(self.working_directory.as_deref()).try_for_each(verify_guest)
    }

    fn created_text(&self) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.created.unwrap_or_default());
        humantime::format_rfc3339_seconds(time).to_string()
    }

    /// What the image says of itself, for no platform yet.
    fn config(&self, program: &str, layers: usize) -> ImageConfig {
        let entrypoint = if self.entrypoint.is_empty() {
            vec![format!("/{program}")]
        } else {
            self.entrypoint.clone()
        };
        let created = self.created_text();
        ImageConfig {
            created: Some(created.clone()),
            author: self.author.clone(),
            config: Execution {
                env: self.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
                entrypoint,
                cmd: self.command.clone(),
                working_dir: self.working_directory.clone().unwrap_or_default(),
                labels: self.labels.clone(),
                ..Execution::default()
            },
            history: vec![history(&created, "aril build"); layers],
            ..ImageConfig::default()
        }
    }
}

impl Runtime {
    /// Makes an image, takes it into the store, and gives it a name, which another image then
    /// loses.
    ///
    /// # Errors
    ///
    /// Fails where the file cannot be read or is no wasm, where something to be copied is not
    /// there or cannot be in an image, and where the store cannot be written. What had the name
    /// keeps it then.
    pub fn build(&self, build: &Build, name: &Reference) -> Result<Image, Error> {
        let span = spans::build(name);
        let built = span.in_scope(|| self.build_as_told(build, name));
        spans::noted_image(&span, built.map_err(|failure| build.failed(failure)))
    }

    pub(super) fn build_as_told(&self, build: &Build, name: &Reference) -> Result<Image, Failure> {
        build.verify()?;
        if name.digest().is_some() {
            return Err(invalid(format!("`{name}` has a digest, which comes of what is built")));
        }
        let store = self.store().map_err(|error| (error.kind(), error.into()))?;
        let lease = store.lease().map_err(of_store)?;
        let created = build.created.map(|_| build.created_text());
        let told = (created, build.author.clone());
        let artifact = |bytes: &[u8]| add_artifact(store, &lease, bytes, told);
        let entry = match (&build.origin, build.format) {
            (Origin::Wasm(path), ImageFormat::Artifact) => {
                let mut entry = artifact(&read_wasm(path)?)?;
                // There is nothing that it has to be told from.
                (entry.platform, entry.artifact_type) = (None, None);
                entry
            }
            (Origin::Wasm(path), format) => {
                let bytes = read_wasm(path)?;
                let is_both = format == ImageFormat::Both;
                let artifact = is_both.then(|| artifact(&bytes)).transpose()?;
                add_files(store, &lease, build, (path, bytes), artifact)?
            }
            (Origin::Dockerfile(recipe), format) => {
                let mut made = self.make(recipe)?;
                let is_both = format == ImageFormat::Both;
                let artifact = is_both
                    .then(|| made.program().and_then(|bytes| artifact(&bytes)))
                    .transpose()?;
                made.tell(&build.created_text(), build.author.as_deref(), &build.labels);
                let modified = build.created.unwrap_or_default();
                let layers = made.layers(|changes| add_layer(store, &lease, changes, modified))?;
                add_image(store, &lease, &layers, made.config, artifact)?
            }
        };
        let image = image_of(store, Some(name.clone()), entry.clone())?;
        store.name(Some(&name.to_string()), &entry).map_err(of_store)?;
        Ok(image)
    }
}

/// Makes an image of a wasm file. What was copied is a layer of its own, so that a new program does
/// not make it new.
fn add_files(
    store: &Store,
    lease: &Lease<'_>,
    build: &Build,
    (path, bytes): (&Path, Vec<u8>),
    artifact: Option<Descriptor>,
) -> Result<Descriptor, Failure> {
    describe(&bytes).map_err(|reason| (ErrorKind::NotRunnable, reason.into()))?;
    let program = program_name(path)?;
    let mut tree = Tree::default();
    let mut files = Changes::new();
    build.copies.iter().try_for_each(|copied| copied.put(&mut tree, &mut files))?;
    if let Some(directory) = &build.working_directory {
        make_directory(&mut tree, directory, &mut files).map_err(of_layer)?;
    }
    let mut own = Changes::new();
    tree.add(&program, Node::Program(bytes.into()).into(), &mut own).map_err(of_layer)?;
    let modified = build.created.unwrap_or_default();
    let changes = [files, own].into_iter().filter(|changes| !changes.is_empty());
    let layers = changes.map(|changes| add_layer(store, lease, &changes, modified));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    let config = build.config(&program, layers.len());
    add_image(store, lease, &layers, config, artifact)
}

/// The name of a program at the image's root.
fn program_name(path: &Path) -> Result<String, Failure> {
    let path = match path.extension() {
        Some(ending) if ending == "wat" => path.with_extension("wasm"),
        _ => path.to_owned(),
    };
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| invalid("its name is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::capabilities::Access;
    use crate::image::Document;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().expect("a directory"));
            place.write("app.wasm", MODULE);
            place.write("assets/index.html", b"hello");
            place.write("assets/bin/tool", b"tool");
            place
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn write(&self, path: &str, bytes: &[u8]) {
            let path = self.path(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, bytes).expect("a file");
        }

        fn runtime(&self) -> Runtime {
            let builder = Runtime::builder(self.path("cache")).data(self.path("data"));
            builder.open().expect("a runtime")
        }

        fn build(&self) -> Build {
            Build::new(self.path("app.wasm"))
        }
    }

    fn name() -> Reference {
        "app:1".parse().expect("a name")
    }

    fn told(error: &Error) -> String {
        let source = std::error::Error::source(error).expect("a cause");
        format!("{error}: {source}")
    }

    #[test]
    fn the_same_files_and_words_make_the_same_image_wherever_they_are() {
        let build = |place: &Place, created: Option<u64>| {
            let build =
                place.build().copy(place.path("assets"), "/srv").env("A", "1").label("k", "v");
            let build = created.into_iter().fold(build, Build::created);
            place.runtime().build(&build, &name()).expect("built").digest()
        };
        let (one, other) = (Place::new(), Place::new());
        let digest = build(&one, None);
        assert_eq!(digest, build(&one, None));
        assert_eq!(digest, build(&other, None));
        assert_eq!(digest, build(&one, Some(0)));
        assert_ne!(digest, build(&one, Some(1)));
        other.write("assets/index.html", b"hallo");
        assert_ne!(digest, build(&other, None));
    }

    #[test]
    fn an_image_says_what_it_was_told_and_is_for_wasm_first_and_for_those_who_know_none() {
        let place = Place::new();
        let runtime = place.runtime();
        let build = place.build().created(86400).author("me").command(["a", "b c"]);
        let build = build.env("B", "1").env("A", "x=y").env("B", "2").label("k", "v");
        let built = runtime.build(&build.working_directory("/srv/data"), &name()).expect("built");
        let image = runtime.image(&name()).expect("found");
        let digests = |image: &Image| (image.digest(), image.manifest_digest());
        assert_eq!(digests(&image), digests(&built));
        assert_eq!(image.platform().to_string(), "wasi/wasm");
        assert_eq!((image.created(), image.author()), (Some("1970-01-02T00:00:00Z"), Some("me")));
        let execution = image.execution();
        assert_eq!(execution.entrypoint, ["/app.wasm"]);
        assert_eq!(execution.cmd, ["a", "b c"]);
        assert_eq!(execution.env, ["B=2", "A=x=y"]);
        assert_eq!(execution.working_dir, "/srv/data");
        assert_eq!(execution.labels.get("k").map(String::as_str), Some("v"));
        let store = runtime.store().expect("a store");
        let Document::Index(index) = store.document(&image.digest()).expect("a document") else {
            panic!("an image is an index");
        };
        let mut platforms = Vec::new();
        let mut layers = Vec::new();
        for entry in &index.manifests {
            platforms.push(entry.platform.as_ref().expect("a platform").to_string());
            let found = image_of(store, None, entry.clone()).expect("an image");
            assert_eq!(Some(&found.platform), entry.platform.as_ref());
            assert_eq!(found.execution(), execution);
            layers.push(found.layers()[0].digest);
        }
        assert_eq!(platforms, ["wasi/wasm", "linux/amd64", "linux/arm64"]);
        assert!(layers.iter().all(|layer| *layer == layers[0]));
    }

    #[test]
    fn files_land_where_docker_puts_them_with_their_modes() {
        let place = Place::new();
        let tool = place.path("assets/bin/tool");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o700)).expect("a mode");
        place.write("new/app.wasm", b"another");
        let build = place.build().copy(place.path("assets"), "/srv/").copy(&tool, "/opt/renamed");
        let build = build.copy(&tool, "/usr/bin/").copy(&tool, "/usr/bin").copy(&tool, "/");
        let build = build.copy(place.path("new"), "/").working_directory("/work");
        let build = build.copy(place.path("assets/index.html"), "/srv/bin");
        let runtime = place.runtime();
        let image = runtime.build(&build, &name()).expect("built");
        let files =
            runtime.image_files(&image, Access::ReadOnly).expect("unpacked").expect("files");
        let root = files.directory().host().to_owned();
        for (path, content, mode) in [
            ("app.wasm", MODULE, 0o755),
            ("srv/index.html", b"hello", 0o644),
            ("srv/bin/tool", b"tool", 0o755),
            ("srv/bin/index.html", b"hello", 0o644),
            ("opt/renamed", b"tool", 0o755),
            ("usr/bin/tool", b"tool", 0o755),
            ("tool", b"tool", 0o755),
        ] {
            let path = root.join(path);
            assert_eq!(fs::read(&path).expect("a file"), content, "{}", path.display());
            let found = fs::metadata(&path).expect("a file").permissions().mode();
            // The portable build leaves modes as files get them.
            if cfg!(not(aril_portable)) {
                assert_eq!(found & 0o777, mode, "{}", path.display());
            }
        }
        assert!(root.join("work").is_dir());
    }

    #[test]
    fn an_artifact_is_what_an_import_makes_and_has_no_room_for_more() {
        let place = Place::new();
        let runtime = place.runtime();
        let build = place.build().format(ImageFormat::Artifact);
        let built = runtime.build(&build, &name()).expect("built");
        assert!(built.is_artifact());
        let imported = runtime.import(&place.path("app.wasm"), &name()).expect("imported");
        assert_eq!(built.digest(), imported.digest());
        let dated = runtime.build(&build.clone().created(0), &name()).expect("built");
        assert_eq!(dated.created(), Some("1970-01-01T00:00:00Z"));
        let error = runtime.build(&build.env("A", "1"), &name()).expect_err("no room");
        assert!(told(&error).contains("no room for variables"), "{error}");
    }

    #[test]
    fn text_becomes_wasm_under_the_name_of_wasm() {
        let place = Place::new();
        place.write("hello.wat", b"(module)");
        let built = place.runtime().build(&Build::new(place.path("hello.wat")), &name());
        assert_eq!(built.expect("built").execution().entrypoint, ["/hello.wasm"]);
    }

    #[test]
    fn what_cannot_be_built_says_what_is_wrong_and_leaves_no_name() {
        let place = Place::new();
        place.write("no.wasm", b"hello");
        place.write("bad/.wh.x", b"");
        let runtime = place.runtime();
        let build = || place.build();
        let file = place.path("app.wasm");
        for (build, expected) in [
            (Build::new(place.path("none.wasm")), "none.wasm"),
            (Build::new(place.path("no.wasm")), "neither wasm nor its text"),
            // Some systems do not open a directory at all.
            (Build::new(place.path("assets")), "it is"),
            (build().copy(place.path("nothing"), "/x"), "nothing` to copy"),
            (build().copy(&file, "x"), "`x` is not an absolute path"),
            (build().copy(&file, "/a/../x"), "`/a/../x` leads upwards"),
            (build().copy(&file, ""), "`` is not an absolute path"),
            (build().copy(place.path("bad"), "/"), "`.wh.x` cannot be in an image"),
            (build().copy(&file, "/x").copy(&file, "/x/y"), "`x` on its way is not a directory"),
            (build().copy(place.path("assets"), "/app.wasm"), "something else as well"),
            (build().working_directory("srv"), "`srv` is not an absolute path"),
            (build().env("", "x"), "cannot be a variable's"),
            (build().env("A=B", "x"), "cannot be a variable's"),
            (build().label("", "x"), "a label has no key"),
            (build().entrypoint([""]), "names no program"),
            (build().created(u64::MAX), "cannot be made"),
        ] {
            let error = told(&runtime.build(&build, &name()).expect_err(expected));
            assert!(error.contains(expected), "{error}");
        }
        assert!(runtime.images().expect("listed").is_empty());
    }
}
