//! The instructions of a Dockerfile, line by line.
//!
//! Source: the Dockerfile reference, and docker's builder where that is silent. Lines, comments, words of
//! JSON and positions are `parse-dockerfile`'s; what may be built without a guest OS is decided here.

use std::borrow::Cow;

use parse_dockerfile::Command;
use parse_dockerfile::FromInstruction;
use parse_dockerfile::HealthcheckArguments;
use parse_dockerfile::Instruction as Parsed;
use parse_dockerfile::JsonOrStringArray;
use parse_dockerfile::Source;
use parse_dockerfile::UnescapedString;

use super::Invalid;
use super::shown;
use super::text_of;
use super::words::split;

/// The largest Dockerfile, in bytes: a thousand times as large as any.
pub(crate) const FILE_SIZE_MAX: u64 = 4 << 20;

/// The most stages. Nobody writes a tenth of them by hand.
const STAGES_MAX: usize = 256;

/// The most instructions.
const INSTRUCTIONS_MAX: usize = 10_000;

/// A Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    /// What begins a word that is not to be read as it stands: `\`, or what `# escape=` says.
    pub(crate) escape: char,
    /// The arguments before the first stage, with the lines that they stand in.
    pub(crate) arguments: Vec<(usize, Argument)>,
    // Invariant: there is one, and names are lowercase and differ.
    pub(crate) stages: Vec<Stage>,
}

/// What `ARG` declares: a name, and what it stands for unless something else is said.
pub(crate) type Argument = (String, Option<String>);

/// From one `FROM` to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) line: usize,
    /// What it begins with: `scratch`, an earlier stage, or an image.
    pub(crate) base: String,
    pub(crate) platform: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// An instruction, with the line in which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line: usize,
    /// As it stands there, as far as it is shown.
    pub(crate) text: String,
    pub(crate) what: Instruction,
}

/// What is to be done. Words have their quotes and variables still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    Copy(Copy),
    Argument(Vec<Argument>),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    // The words of the last four are taken as they are.
    Entrypoint(Vec<String>),
    Command(Vec<String>),
    Author(String),
    /// It says what is so anyway.
    Nothing,
    Expose(Vec<String>),
    Volume(Vec<String>),
    User(String),
    WorkingDirectory(String),
    StopSignal(String),
    /// It cannot be done, which matters only where the stage is needed.
    Refused(String),
}

/// `COPY` and `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Whether it is `ADD`, which unpacks.
    pub(crate) is_add: bool,
    /// The stage or the image that it copies from; without one, the context.
    pub(crate) from: Option<String>,
    pub(crate) mode: Option<u32>,
    pub(crate) owner: Option<String>,
    // Invariant: there is one.
    pub(crate) sources: Vec<String>,
    pub(crate) target: String,
}

impl Dockerfile {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let text = text_of(bytes)?;
        let escape = escape_of(text);
        let text = &*with_a_word(text, escape);
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let line_of = |at: usize| ends.partition_point(|end| *end < at) + 1;
        let broken = |error: parse_dockerfile::Error| {
            // Its words have the line behind them, which is said in front here.
            let told = error.to_string();
            let told = told.split(" at line ").next().unwrap_or_default();
            Invalid::new(error.line().max(1), shown(told))
        };
        let mut parsed = Self { escape, arguments: Vec::new(), stages: Vec::new() };
        let instructions = parse_dockerfile::parse_iter(text).map_err(broken)?;
        for (count, instruction) in instructions.enumerate() {
            let instruction = instruction.map_err(broken)?;
            let span = span_of(&instruction);
            let line = line_of(span);
            if count == INSTRUCTIONS_MAX {
                let reason = format!("there are more than {INSTRUCTIONS_MAX} instructions");
                return Err(Invalid::new(line, reason));
            }
            let at = |reason: String| Invalid::new(line, reason);
            match (&instruction, parsed.stages.last_mut()) {
                (Parsed::From(from), _) => {
                    let stage = parsed.stage(line, from).map_err(at)?;
                    parsed.stages.push(stage);
                }
                (Parsed::Arg(told), None) => {
                    let told = arguments(&told.arguments.value, parsed.escape).map_err(at)?;
                    parsed.arguments.extend(told.into_iter().map(|argument| (line, argument)));
                }
                (_, Some(stage)) => {
                    let what = read(&instruction, parsed.escape).map_err(at)?;
                    let text = text[span..].lines().next().unwrap_or_default().trim();
                    stage.steps.push(Step { line, text: shown(text), what });
                }
                (_, None) => return Err(at("there is no `FROM` before it".to_owned())),
            }
        }
        Ok(parsed)
    }

    fn stage(&self, line: usize, from: &FromInstruction<'_>) -> Result<Stage, String> {
        if self.stages.len() == STAGES_MAX {
            return Err(format!("there are more than {STAGES_MAX} stages"));
        }
        let mut platform = None;
        for flag in &from.options {
            match (&*flag.name.value, &flag.value) {
                ("platform", Some(value)) => platform = Some(value.value.clone().into_owned()),
                (name, _) => return Err(unknown_flag("FROM", name)),
            }
        }
        let name = from.as_.as_ref().map(|(_, name)| name.value.to_ascii_lowercase());
        if let Some(name) = &name {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(inner) {
                return Err(format!(
                    "`{}` cannot name a stage: a name is a letter, and letters, digits, `-`, `_` \
                     and `.`",
                    shown(name)
                ));
            }
            if let Some(other) = self.stages.iter().find(|other| other.name.as_ref() == Some(name))
            {
                return Err(format!("the stage of line {} is called `{name}` already", other.line));
            }
        }
        let base = from.image.value.clone().into_owned();
        Ok(Stage { line, base, platform, name, steps: Vec::new() })
    }
}

/// What `# escape=` says. The parser has seen that there is nothing else.
fn escape_of(text: &str) -> char {
    let directives = text.lines().map_while(|line| line.strip_prefix('#')?.split_once('='));
    let told = directives.map(|(name, value)| (name.trim(), value.trim()));
    let mut escapes = told.filter(|(name, _)| name.eq_ignore_ascii_case("escape"));
    match escapes.next() {
        Some((_, "`")) if escapes.next().is_none() => '`',
        _ => '\\',
    }
}

/// The text with a word that is empty in the lists of `ENTRYPOINT []` and `CMD []`, which the parser
/// does not take. Lines stay where they are.
fn with_a_word(text: &str, escape: char) -> Cow<'_, str> {
    let is_list = |line: &str| {
        let line = line.trim();
        let list = line.split_once(char::is_whitespace).filter(|(name, list)| {
            let is_one = ["ENTRYPOINT", "CMD"].iter().any(|it| name.eq_ignore_ascii_case(it));
            let inner = list.trim().strip_prefix('[').and_then(|list| list.strip_suffix(']'));
            is_one && inner.is_some_and(|inner| inner.trim().is_empty())
        });
        list.is_some()
    };
    if !text.lines().any(is_list) {
        return Cow::Borrowed(text);
    }
    let mut is_continued = false;
    let lines = text.split_inclusive('\n').map(|line| {
        let told = if !is_continued && is_list(line) {
            Cow::Owned(line.replacen('[', "[\"\"", 1))
        } else {
            Cow::Borrowed(line)
        };
        is_continued = line.trim_end().ends_with(escape);
        told
    });
    Cow::Owned(lines.collect())
}

fn span_of(instruction: &Parsed<'_>) -> usize {
    match instruction {
        Parsed::Add(it) => it.add.span.start,
        Parsed::Arg(it) => it.arg.span.start,
        Parsed::Cmd(it) => it.cmd.span.start,
        Parsed::Copy(it) => it.copy.span.start,
        Parsed::Entrypoint(it) => it.entrypoint.span.start,
        Parsed::Env(it) => it.env.span.start,
        Parsed::Expose(it) => it.expose.span.start,
        Parsed::From(it) => it.from.span.start,
        Parsed::Healthcheck(it) => it.healthcheck.span.start,
        Parsed::Label(it) => it.label.span.start,
        Parsed::Maintainer(it) => it.maintainer.span.start,
        Parsed::Onbuild(it) => it.onbuild.span.start,
        Parsed::Run(it) => it.run.span.start,
        Parsed::Shell(it) => it.shell.span.start,
        Parsed::Stopsignal(it) => it.stopsignal.span.start,
        Parsed::User(it) => it.user.span.start,
        Parsed::Volume(it) => it.volume.span.start,
        Parsed::Workdir(it) => it.workdir.span.start,
        _ => 0,
    }
}

fn owned<'a, 'b: 'a>(words: impl IntoIterator<Item = &'a UnescapedString<'b>>) -> Vec<String> {
    words.into_iter().map(|word| word.value.clone().into_owned()).collect()
}

fn unknown_flag(of: &str, name: &str) -> String {
    format!("`{of} --{}` is not known here", shown(name))
}

/// Reads an instruction of a stage. What is wrong whatever is built fails; what cannot be done here
/// is refused where it is needed.
fn read(instruction: &Parsed<'_>, escape: char) -> Result<Instruction, String> {
    let refused = |reason: &str| Instruction::Refused(reason.to_owned());
    Ok(match instruction {
        Parsed::Add(it) => copy("ADD", &it.options, &it.src, &it.dest)?,
        Parsed::Copy(it) => copy("COPY", &it.options, &it.src, &it.dest)?,
        Parsed::Arg(it) => Instruction::Argument(arguments(&it.arguments.value, escape)?),
        Parsed::Env(it) => Instruction::Env(pairs("ENV", &it.arguments.value, escape)?),
        Parsed::Label(it) => Instruction::Label(pairs("LABEL", &it.arguments.value, escape)?),
        Parsed::Cmd(it) => match words_of("CMD", &it.arguments) {
            Ok(words) => Instruction::Command(words),
            Err(reason) => Instruction::Refused(reason),
        },
        Parsed::Entrypoint(it) => match words_of("ENTRYPOINT", &it.arguments) {
            Ok(words) => Instruction::Entrypoint(words),
            Err(reason) => Instruction::Refused(reason),
        },
        Parsed::Expose(it) => Instruction::Expose(owned(&it.arguments)),
        Parsed::Volume(it) => Instruction::Volume(match &it.arguments {
            JsonOrStringArray::Json(words) => owned(&words.value),
            JsonOrStringArray::String(words) => owned(words),
        }),
        Parsed::User(it) => Instruction::User(it.arguments.value.clone().into_owned()),
        Parsed::Workdir(it) => {
            Instruction::WorkingDirectory(it.arguments.value.clone().into_owned())
        }
        Parsed::Stopsignal(it) => Instruction::StopSignal(it.arguments.value.clone().into_owned()),
        Parsed::Maintainer(it) => Instruction::Author(it.name.value.clone().into_owned()),
        Parsed::Healthcheck(it) => match it.arguments {
            HealthcheckArguments::None { .. } => Instruction::Nothing,
            _ => refused("`HEALTHCHECK` has no place in an OCI image, so nobody would obey it"),
        },
        Parsed::Run(_) => refused(
            "`RUN` needs a guest OS to run it in, and an image of Aril has none: make the files \
             outside and `COPY` them, or take them from another image by `COPY --from=IMAGE`",
        ),
        Parsed::Onbuild(_) => refused("`ONBUILD` has no place in an OCI image"),
        Parsed::Shell(_) => refused("`SHELL` names a shell, and there is none without a guest OS"),
        _ => refused("this instruction is not known here"),
    })
}

fn copy<'a, 'b: 'a>(
    name: &str,
    flags: impl IntoIterator<Item = &'a parse_dockerfile::Flag<'b>>,
    sources: &[Source<'_>],
    target: &UnescapedString<'_>,
) -> Result<Instruction, String> {
    let mut copy = Copy { is_add: name == "ADD", ..Copy::default() };
    for flag in flags {
        let value = flag.value.as_ref().map(|value| value.value.clone().into_owned());
        match (&*flag.name.value, value) {
            ("from", Some(value)) if !copy.is_add => copy.from = Some(value),
            ("chmod", Some(value)) => copy.mode = Some(mode(&value)?),
            ("chown", Some(value)) => copy.owner = Some(value),
            // Each copy is a layer that knows nothing of those below: it is so always.
            ("link", None) => {}
            ("link", Some(value)) if matches!(value.as_str(), "true" | "false") => {}
            (flag, _) => return Ok(Instruction::Refused(unknown_flag(name, flag))),
        }
    }
    for source in sources {
        let Source::Path(path) = source else {
            let reason = format!(
                "`{name} <<` makes a file of lines that follow, which is not known \
                                  here: write the file, and copy it"
            );
            return Ok(Instruction::Refused(reason));
        };
        copy.sources.push(path.value.clone().into_owned());
    }
    copy.target = target.value.clone().into_owned();
    Ok(Instruction::Copy(copy))
}

/// Who may do what, in octal digits.
fn mode(text: &str) -> Result<u32, String> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = is_octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
    mode.filter(|mode| *mode <= 0o777).ok_or_else(|| {
        format!("`--chmod={}` is not three octal digits, such as `755`", shown(text))
    })
}

/// The words of a program and its arguments.
fn words_of(name: &str, command: &Command<'_>) -> Result<Vec<String>, String> {
    let text = match command {
        Command::Exec(words) => {
            let words = owned(&words.value);
            // Nothing, and so neither what the image had that it begins with.
            return Ok(if words == [""] { Vec::new() } else { words });
        }
        Command::Shell(text) => text.value,
        _ => "",
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+ ".contains(c);
    let written = if !text.trim().is_empty() && text.chars().all(is_plain) {
        let words: Vec<_> = text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
        format!("write `{name} [{}]`", shown(&words.join(", ")))
    } else {
        format!("write the program and its arguments as `{name} [\"/app.wasm\", \"-v\"]`")
    };
    Err(format!(
        "`{name}` without brackets is run by a shell, and there is none without a guest OS: {written}"
    ))
}

/// `NAME`, or `NAME=VALUE`, several of them.
fn arguments(text: &str, escape: char) -> Result<Vec<Argument>, String> {
    let words = split(text, escape).into_iter().map(|word| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word, None),
    });
    let words: Vec<_> = words.collect();
    match words.iter().find(|(name, _)| name.is_empty()) {
        Some(_) => Err("`ARG` declares something without a name".to_owned()),
        None => Ok(words),
    }
}

/// `NAME=VALUE`, several of them; or, as it was once written, a name and all that is behind it.
fn pairs(of: &str, text: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = split(text, escape);
    let pairs = match words.first() {
        Some(first) if !first.contains('=') => {
            let rest = text.trim_start().strip_prefix(first.as_str()).unwrap_or_default().trim();
            if rest.is_empty() {
                return Err(format!("`{of} {}` has no value", shown(first)));
            }
            vec![(first.clone(), rest.to_owned())]
        }
        _ => {
            let pairs = words.iter().map(|word| match word.split_once('=') {
                Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                None => Err(format!("`{}` is not `NAME=VALUE`", shown(word))),
            });
            pairs.collect::<Result<Vec<_>, _>>()?
        }
    };
    match pairs.iter().find(|(name, _)| name.is_empty()) {
        Some(_) => Err(format!("`{of}` gives a value to something without a name")),
        None => Ok(pairs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Dockerfile {
        Dockerfile::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn steps(text: &str) -> Vec<Instruction> {
        let mut parsed = parsed(&format!("FROM scratch\n{text}"));
        parsed.stages.remove(0).steps.into_iter().map(|step| step.what).collect()
    }

    #[test]
    fn instructions_have_their_lines_through_comments_and_continued_lines() {
        let parsed = parsed(
            "# syntax=docker/dockerfile:1\n# escape=`\n\nARG A=1 B\nfrom --platform=wasi/wasm \
             scratch AS One\n# more\nCOPY --from=x `\n  # between\n\n  a `\n b/ /c/\nFROM one\nENV A=b\n",
        );
        assert_eq!(parsed.escape, '`');
        let (a, b) = (("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None));
        assert_eq!(parsed.arguments, [(4, a), (4, b)]);
        let [one, two] = parsed.stages.as_slice() else { panic!("two stages") };
        assert_eq!(
            (one.line, one.name.as_deref(), one.platform.as_deref()),
            (5, Some("one"), Some("wasi/wasm"))
        );
        assert_eq!((two.line, two.base.as_str(), two.steps[0].line), (12, "one", 13));
        assert_eq!(one.steps[0].line, 7);
        let expected = Copy {
            from: Some("x".to_owned()),
            sources: vec!["a".to_owned(), "b/".to_owned()],
            target: "/c/".to_owned(),
            ..Copy::default()
        };
        assert_eq!(one.steps[0].what, Instruction::Copy(expected));
    }

    #[test]
    fn words_are_taken_in_both_forms() {
        let both = |one: &str, two: &str| vec![(one.to_owned(), two.to_owned())];
        for (text, expected) in [
            ("ENV A b  c", Instruction::Env(both("A", "b  c"))),
            ("ENV A='b c'", Instruction::Env(both("A", "'b c'"))),
            ("LABEL a.b=\"c\\\n d\"", Instruction::Label(both("a.b", "\"c d\""))),
            ("CMD [\"a\", \"b c\"]", Instruction::Command(vec!["a".into(), "b c".into()])),
            ("CMD []", Instruction::Command(Vec::new())),
            (" entrypoint  [ ]\r", Instruction::Entrypoint(Vec::new())),
            ("VOLUME [\"/a b\"]", Instruction::Volume(vec!["/a b".into()])),
            ("VOLUME /a /b", Instruction::Volume(vec!["/a".into(), "/b".into()])),
            ("EXPOSE 80 53/udp", Instruction::Expose(vec!["80".into(), "53/udp".into()])),
            ("HEALTHCHECK NONE", Instruction::Nothing),
            ("MAINTAINER A B", Instruction::Author("A B".into())),
        ] {
            assert_eq!(steps(text), [expected], "{text}");
        }
    }

    #[test]
    fn what_needs_a_guest_os_or_is_not_known_is_refused_by_name() {
        for (text, expected) in [
            ("RUN make", "`RUN` needs a guest OS"),
            ("RUN <<EOF\nmake\nEOF", "`RUN` needs a guest OS"),
            ("ENTRYPOINT /a.wasm -v", "write `ENTRYPOINT [\"/a.wasm\", \"-v\"]`"),
            ("CMD echo $HOME", "write the program and its arguments as `CMD"),
            ("SHELL [\"sh\"]", "`SHELL` names a shell"),
            ("ONBUILD RUN x", "`ONBUILD` has no place"),
            ("HEALTHCHECK CMD x", "`HEALTHCHECK` has no place"),
            ("COPY <<EOF /x\nEOF", "`COPY <<` makes a file"),
            ("COPY --parents a /b", "`COPY --parents` is not known"),
            ("ADD --from=x a /b", "`ADD --from` is not known"),
        ] {
            let steps = steps(text);
            let [Instruction::Refused(reason)] = steps.as_slice() else {
                panic!("{text} was taken")
            };
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let long = format!("FROM scratch\nCOPY {} /\n", "a".repeat(1 << 20));
        let stages = "FROM scratch\n".repeat(100_000);
        let many = format!("FROM scratch\n{}", "ENV A=b\n".repeat(10_001));
        for (text, line, expected) in [
            ("", 1, ""),
            ("COPY a /\n", 1, "FROM"),
            ("\nENV A=b\nFROM x", 2, "FROM"),
            ("FROM scratch\nNOPE x", 2, "NOPE"),
            ("FROM scratch\nCOPY a", 2, "COPY"),
            ("FROM scratch\n\nENV A", 3, "has no value"),
            ("FROM scratch\nENV A=b c", 2, "`c` is not"),
            ("FROM scratch\nENTRYPOINT", 2, "at least one argument"),
            ("FROM scratch\nENTRYPOINT []\nCMD []\nENV A", 4, "has no value"),
            ("FROM scratch\nENV =b", 2, "without a name"),
            ("FROM scratch\nCOPY --chmod=u+x a /", 2, "three octal digits"),
            ("FROM scratch\nCOPY --chmod=4755 a /", 2, "three octal digits"),
            ("FROM scratch AS a\nFROM scratch AS A", 2, "line 1 is called `a` already"),
            ("FROM scratch AS 1", 1, "cannot name a stage"),
            ("FROM --x=y scratch", 1, "`FROM --x` is not known"),
            ("FROM scratch AS", 1, ""),
            (long.as_str(), 2, "longer than 65535 bytes"),
            (stages.as_str(), 257, "more than 256 stages"),
            (many.as_str(), 10_001, "more than 10000 instructions"),
        ] {
            let error = Dockerfile::parse(text.as_bytes()).expect_err(expected);
            assert!(error.line == line && error.reason.contains(expected), "{text:.40} {error}");
        }
        let error = Dockerfile::parse(b"FROM a\n\nCOPY \xff /").expect_err("no text");
        assert_eq!(error, Invalid::new(3, "it is not UTF-8"));
        let error = Dockerfile::parse(b"FROM a\nN\x1b[2JO x").expect_err("no instruction");
        assert!(!error.to_string().contains('\x1b'), "{error}");
    }
}
