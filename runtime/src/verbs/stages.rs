//! The stages of a Dockerfile, done one after the other: what is in the image, and what it says of
//! itself. Nothing is compressed or stored before all of it is known.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::dockerfile::Argument;
use crate::dockerfile::Copy;
use crate::dockerfile::Instruction;
use crate::dockerfile::Step;
use crate::dockerfile::Words;
use crate::dockerfile::shown;
use crate::engine::describe;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::Body;
use crate::image::CONFIG_SIZE_MAX;
use crate::image::Compression;
use crate::image::Descriptor;
use crate::image::History;
use crate::image::ImageConfig;
use crate::image::Reference;
use crate::image::media;
use crate::platform::tree::Directory;
use crate::rootfs::Changes;
use crate::rootfs::Node;
use crate::rootfs::Root;
use crate::rootfs::Tree;
use crate::rootfs::open;

use super::assets::Attributes;
use super::assets::invalid;
use super::assets::make_directory;
use super::assets::of_layer;
use super::assets::of_store;
use super::assets::put;
use super::forms::Layered;
use super::forms::PLATFORMS;
use super::forms::read_wasm_of;
use super::images::Failure;
use super::recipe::Base;
use super::recipe::Plan;
use super::recipe::Recipe;
use super::recipe::at_line;
use super::recipe::source_of;
use super::recipe::wrong;
use super::runtime::Runtime;
use super::sources::Looks;
use super::sources::Sources;
use super::sources::owner;
use super::sources::ports;
use super::told::Told;

/// The most layers of an image: no other tool mounts more.
const LAYERS_MAX: usize = 127;

/// The most files of all stages together: twice what one image may have.
const FILES_MAX: usize = 2_000_000;

/// What is told of a layer.
pub(super) fn history(created: &str, by: &str) -> History {
    let created = Some(created.to_owned());
    History { created, created_by: Some(by.to_owned()), comment: None, empty_layer: false }
}

/// A stage, as far as it is done.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    tree: Tree,
    /// The layers of the image that it began with.
    below: Vec<Layered>,
    /// Its own, each with the line that made it.
    own: Vec<(Rc<Changes>, String)>,
    /// What is to be in the next one.
    pending: Changes,
    pub(super) config: ImageConfig,
    arguments: BTreeMap<String, String>,
    told: Told,
    /// Whether it was told what the arguments are, rather than the image that it began with.
    has_command: bool,
    /// Nobody removes the files of the image that it began with.
    root: Option<Rc<Root>>,
}

impl Runtime {
    /// Does all that a Dockerfile says, up to writing the layers.
    pub(super) fn make(&self, recipe: &Recipe) -> Result<Made, Failure> {
        let plan = recipe.plan()?;
        let (context, left_out) = recipe.context()?;
        let left_out = left_out.and_then(|path| Some(path.file_name()?.display().to_string()));
        let mut kitchen = Kitchen {
            runtime: self,
            recipe,
            plan: &plan,
            context: Sources { tree: context, left_out },
            images: BTreeMap::new(),
            done: BTreeMap::new(),
            looks: Looks::default(),
        };
        let (mut files, mut told) = (0, Told::default());
        for (number, base) in &plan.stages {
            let stage = &plan.file.stages[*number];
            let mut made = kitchen.begin(*number, base).map_err(at_line(stage.line))?;
            for step in &stage.steps {
                kitchen.step(*number, &mut made, step).map_err(at_line(step.line))?;
            }
            files += made.tree.len();
            told.all(&made.told).map_err(at_line(stage.line))?;
            if FILES_MAX < files {
                let reason = format!("the stages have more than {FILES_MAX} files together");
                return Err(wrong(stage.line, reason));
            }
            kitchen.done.insert(*number, made);
        }
        let last = kitchen.done.pop_last();
        let (_, mut made) = last.ok_or_else(|| invalid("it has no stage"))?;
        made.commit("WORKDIR");
        if made.below.is_empty() && made.own.is_empty() {
            return Err(invalid("nothing is copied, and an image without files is none"));
        }
        if LAYERS_MAX < made.below.len() + made.own.len() {
            let reason = format!("the image has more than {LAYERS_MAX} layers: copy more at once");
            return Err(invalid(reason));
        }
        Ok(made)
    }

    /// The files of an image of the store, and what it says of itself.
    fn base(&self, name: &Reference) -> Result<Made, Failure> {
        let of = |error: Error| (error.kind(), error.into());
        let image = self.image(name).map_err(of)?;
        let Body::Files(layers) = &image.body else {
            let reason = format!("`{name}` is a wasm file alone, without files to build upon");
            return Err(invalid(reason));
        };
        let root = self.unpacked(&image, layers).map_err(of)?;
        let directory = Directory::open(root.path())
            .map_err(|error| -> Failure { (ErrorKind::Unavailable, error.into()) })?;
        let store = self.store().map_err(of)?;
        let config = store.read(&image.config.digest, CONFIG_SIZE_MAX).map_err(of_store)?;
        let mut config = ImageConfig::parse(&config)
            .map_err(|error| -> Failure { (ErrorKind::NotRunnable, error.into()) })?;
        let below = layers.iter().map(|layer| {
            let called = match layer.compression {
                Compression::None => media::LAYER_TAR,
                Compression::Gzip => media::LAYER_GZIP,
                Compression::Zstd => media::LAYER_ZSTD,
            };
            let blob = Descriptor::new(called, layer.blob.digest, layer.blob.size);
            layer.diff_id.map(|diff_id| (blob, diff_id))
        });
        let below = below.collect::<Option<Vec<_>>>().ok_or_else(|| {
            invalid(format!("`{name}` does not say what its layers unpack to, as images must"))
        })?;
        // Other tools refuse an image that tells of more layers, or of fewer.
        if config.history.iter().filter(|told| !told.empty_layer).count() != below.len() {
            config.history =
                vec![History { created: None, ..history("", &name.to_string()) }; below.len()];
        }
        let tree = Tree::of_image(directory);
        Ok(Made { tree, below, config, root: Some(Rc::new(root)), ..Made::default() })
    }
}

impl Made {
    /// What is pending becomes a layer.
    fn commit(&mut self, text: &str) {
        if !self.pending.is_empty() {
            let changes = std::mem::take(&mut self.pending);
            self.own.push((Rc::new(changes), text.to_owned()));
        }
    }

    fn set_env(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        if name.is_empty() || name.contains('=') {
            return Err(invalid(format!("`{}` cannot name a variable", shown(name))));
        }
        self.told.one(name, value)?;
        let variable = format!("{name}={value}");
        let env = &mut self.config.config.env;
        let is_it =
            |other: &String| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        match env.iter_mut().find(|other| is_it(other)) {
            Some(old) => *old = variable,
            None => env.push(variable),
        }
        Ok(())
    }

    /// A path in the image, from the working directory unless it is absolute.
    fn path(&self, path: &str) -> String {
        match self.config.config.working_dir.as_str() {
            _ if path.starts_with('/') => path.to_owned(),
            directory => format!("{}/{path}", directory.trim_end_matches('/')),
        }
    }

    /// Says who made it, when, and what else is told of it.
    pub(super) fn tell(
        &mut self,
        created: &str,
        author: Option<&str>,
        labels: &BTreeMap<String, String>,
    ) {
        self.config.created = Some(created.to_owned());
        if let Some(author) = author {
            self.config.author = Some(author.to_owned());
        }
        self.config.config.labels.extend(labels.clone());
        let told = self.own.iter().map(|(_, text)| history(created, text));
        self.config.history.extend(told);
    }

    /// All layers, the lowest first.
    pub(super) fn layers(
        &self,
        write: impl FnMut(&Changes) -> Result<Layered, Failure>,
    ) -> Result<Vec<Layered>, Failure> {
        let own = self.own.iter().map(|(changes, _)| &**changes).map(write);
        self.below.iter().cloned().map(Ok).chain(own).collect()
    }

    /// The bytes of its program.
    pub(super) fn program(&mut self) -> Result<Vec<u8>, Failure> {
        let none = || invalid("the artifact is to have its program, and it names none");
        let program = self.config.config.program().map(str::to_owned).ok_or_else(none)?;
        let place = self.tree.follow(&self.path(&program)).map_err(of_layer)?;
        let bytes = match self.tree.entry(&place).map_err(of_layer)?.map(|entry| &entry.node) {
            Some(Node::File(file)) => read_wasm_of(open(file).map_err(of_layer)?)?,
            Some(Node::Program(bytes)) => bytes.to_vec(),
            _ => {
                let reason = format!("its program `{}` is not among its files", shown(&program));
                return Err(invalid(reason));
            }
        };
        describe(&bytes).map_err(|reason| (ErrorKind::NotRunnable, reason.into()))?;
        Ok(bytes)
    }
}

/// Where stages are made.
struct Kitchen<'a> {
    runtime: &'a Runtime,
    recipe: &'a Recipe,
    plan: &'a Plan,
    context: Sources,
    /// The images that something was copied from.
    images: BTreeMap<String, Made>,
    done: BTreeMap<usize, Made>,
    looks: Looks,
}

impl Kitchen<'_> {
    fn begin(&self, number: usize, base: &Base) -> Result<Made, Failure> {
        let stage = &self.plan.file.stages[number];
        let mut made = match base {
            Base::Nothing => Made::default(),
            Base::Stage(earlier) => {
                let mut made = self.done.get(earlier).cloned().unwrap_or_default();
                made.commit("WORKDIR");
                Made { arguments: BTreeMap::new(), has_command: false, ..made }
            }
            Base::Image(name) => self.runtime.base(name).map_err(|(kind, source)| {
                let is_it = |later: &&crate::dockerfile::Stage| {
                    later.name.as_deref() == Some(stage.base.as_str())
                };
                match self.plan.file.stages[number..].iter().find(is_it) {
                    Some(later) if kind == ErrorKind::NotFound => invalid(format!(
                        "the store has no image `{name}`, and the stage `{}` of line {} does not come \
                         before",
                        shown(&stage.base),
                        later.line
                    )),
                    _ => (kind, source),
                }
            })?,
        };
        if let Some(platform) = &stage.platform {
            let value_of = |name: &str| self.plan.arguments.get(name).cloned();
            let words = Words { escape: self.plan.file.escape, value_of };
            let platform = words.expand(platform).map_err(invalid)?;
            let is_ours =
                PLATFORMS.iter().any(|(os, processor)| platform == format!("{os}/{processor}"));
            let is_its = made.config.platform().to_string() == platform;
            let is_for_it = is_its || (is_ours && made.root.is_none());
            if !is_for_it {
                return Err(invalid(format!(
                    "`--platform={}` is not what it is for: an image of Aril is for `wasi/wasm`, \
                     `linux/amd64` and `linux/arm64` at once",
                    shown(&platform)
                )));
            }
        }
        made.config.variant = None;
        Ok(made)
    }

    fn step(&mut self, number: usize, made: &mut Made, step: &Step) -> Result<(), Failure> {
        let escape = self.plan.file.escape;
        let known = (made.config.config.env.clone(), made.arguments.clone());
        let value_of = |name: &str| {
            let (env, arguments) = &known;
            let mut env = env.iter();
            let found = env.find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='));
            found.map(str::to_owned).or_else(|| arguments.get(name).cloned())
        };
        let words = Words { escape, value_of };
        let expand = |text: &str| words.expand(text).map_err(invalid);
        match &step.what {
            Instruction::Copy(copy) => {
                self.copy(number, made, copy, &expand)?;
                made.commit(&step.text);
            }
            Instruction::Argument(told) => {
                let told = self.arguments(told, &expand)?;
                for (name, value) in told {
                    made.told.one(&name, &value)?;
                    made.arguments.insert(name, value);
                }
            }
            Instruction::Env(pairs) => {
                for (name, value) in pairs {
                    made.set_env(&expand(name)?, &expand(value)?)?;
                }
            }
            Instruction::Label(pairs) => {
                for (key, value) in pairs {
                    let (key, value) = (expand(key)?, expand(value)?);
                    made.told.one(&key, &value)?;
                    made.config.config.labels.insert(key, value);
                }
            }
            Instruction::Entrypoint(told) | Instruction::Command(told)
                if told.iter().any(|word| word.contains('\0')) =>
            {
                return Err(invalid("a word of it has a zero in it"));
            }
            Instruction::Entrypoint(told) => {
                made.config.config.entrypoint.clone_from(told);
                // The arguments were for the program of the image that it began with.
                if !made.has_command {
                    made.config.config.cmd.clear();
                }
            }
            Instruction::Command(told) => {
                made.config.config.cmd.clone_from(told);
                made.has_command = true;
            }
            Instruction::Author(name) => made.config.author = Some(name.clone()),
            Instruction::Expose(told) => {
                for word in told {
                    for port in expand(word)?.split_whitespace() {
                        made.config.config.exposed_ports.extend(ports(port).map_err(invalid)?);
                    }
                }
            }
            Instruction::Volume(told) => {
                for word in told {
                    let path = expand(word)?;
                    if !path.starts_with('/') {
                        let shown = shown(&path);
                        return Err(invalid(format!("`VOLUME {shown}` is not an absolute path")));
                    }
                    made.config.config.volumes.insert(path);
                }
            }
            Instruction::User(told) => made.config.config.user = expand(told)?,
            Instruction::StopSignal(told) => made.config.config.stop_signal = expand(told)?,
            Instruction::WorkingDirectory(told) => {
                let path = made.path(&expand(told)?);
                make_directory(&mut made.tree, &path, &mut made.pending).map_err(of_layer)?;
                made.config.config.working_dir = plain(&path);
            }
            Instruction::Refused(reason) => return Err(invalid(reason.clone())),
            Instruction::Nothing => {}
        }
        Ok(())
    }

    /// What arguments stand for: what was given, or else what the line says, or else what was said
    /// before the first stage.
    fn arguments(
        &self,
        told: &[Argument],
        expand: &dyn Fn(&str) -> Result<String, Failure>,
    ) -> Result<Vec<(String, String)>, Failure> {
        let mut all = Vec::new();
        for (name, value) in told {
            let given = self.recipe.arguments.get(name).cloned();
            let told = || value.as_ref().map(|value| expand(value)).transpose();
            let value = given.map_or_else(told, |given| Ok(Some(given)))?;
            let value = value.or_else(|| self.plan.arguments.get(name).cloned());
            all.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(all)
    }

    fn copy(
        &mut self,
        number: usize,
        made: &mut Made,
        copy: &Copy,
        expand: &dyn Fn(&str) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let given = copy.owner.as_deref().map(expand).transpose()?;
        let owner = given.as_deref().map_or(Ok((0, 0)), owner).map_err(invalid)?;
        let attributes = Attributes { mode: copy.mode, owner };
        let sources =
            copy.sources.iter().map(|source| expand(source)).collect::<Result<Vec<_>, _>>()?;
        let looks = &mut self.looks;
        let from = copy.from.as_deref().map(|from| source_of(&self.plan.file, number, from));
        let found = match from.transpose().map_err(invalid)? {
            None | Some(Base::Nothing) => self.context.find(&sources, copy.is_add, looks)?,
            Some(Base::Stage(earlier)) => {
                let none = || invalid("the stage was not made");
                let earlier = self.done.get_mut(&earlier).ok_or_else(none)?;
                Sources::of(&mut earlier.tree, |from| from.find(&sources, false, looks))?
            }
            Some(Base::Image(name)) => {
                let key = name.to_string();
                if !self.images.contains_key(&key) {
                    self.images.insert(key.clone(), self.runtime.base(&name)?);
                }
                let none = || invalid("the image was not found");
                let image = self.images.get_mut(&key).ok_or_else(none)?;
                Sources::of(&mut image.tree, |from| from.find(&sources, false, looks))?
            }
        };
        let target = expand(&copy.target)?;
        if target.is_empty() {
            return Err(invalid("it says nowhere to copy to"));
        }
        let is_inside = target.ends_with('/') || target == "." || target.ends_with("/.");
        if found.len() > 1 && !is_inside {
            return Err(invalid(format!(
                "what is copied is more than one, so where to must be a directory and end in `/`: \
                 `{}` does not",
                shown(&target)
            )));
        }
        let target = made.path(&target);
        put(&mut made.tree, found, &target, attributes, &mut made.pending).map_err(of_layer)
    }
}

/// An absolute path without steps that lead nowhere.
fn plain(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}
