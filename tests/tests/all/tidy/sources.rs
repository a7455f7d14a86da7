//! The workspace's source files, read once, and what is code in them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

const CRATES: [&str; 6] = ["common", "gpuf-s", "gpuf-c", "sim-engine", "tests", "bench"];

/// One file.
pub struct Source {
    /// From the workspace's root, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
    /// Whether it is compiled for tests only.
    pub is_test: bool,
}

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

/// Every `.rs` file of the workspace.
pub fn all() -> &'static [Source] {
    static ALL: OnceLock<Vec<Source>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut files = Vec::new();
        for name in CRATES {
            collect(&root().join(name), &mut files);
        }
        assert!(files.len() > 100, "the workspace is somewhere else");
        read(files)
    })
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(mut files: Vec<PathBuf>) -> Vec<Source> {
    files.sort();
    let texts: Vec<_> =
        files.into_iter().map(|path| (fs::read_to_string(&path).expect("a source file"), path)).collect();
    let tests: BTreeSet<_> = texts.iter().flat_map(|(text, path)| test_modules(text, path)).collect();
    let source = |(text, path): (String, PathBuf)| {
        let is_test = tests.contains(&path);
        let path = path.strip_prefix(root()).expect("a path of the workspace");
        let path = path.to_string_lossy().replace('\\', "/");
        let is_test =
            is_test || path.contains("/tests/") || path.starts_with("tests/") || path.starts_with("bench/");
        Source { path, text, is_test }
    };
    texts.into_iter().map(source).collect()
}

/// The files of modules that a file declares for tests only.
fn test_modules(text: &str, path: &Path) -> Vec<PathBuf> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let folder = path.parent().expect("a file lies in a folder");
    let folder = if ["lib", "main", "all"].contains(&stem) { folder.to_owned() } else { folder.join(stem) };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| is_test_mark(pair[0])).filter_map(|pair| {
        let name = pair[1].rsplit_once("mod ")?.1.strip_suffix(';')?;
        Some(folder.join(format!("{name}.rs")))
    });
    declared.collect()
}

/// `#[cfg(test)]`, or that on some systems only.
fn is_test_mark(line: &str) -> bool {
    line.starts_with("#[cfg(") && has_word(line, "test") && !line.contains("not(test")
}

impl Source {
    /// Whether its path begins with one of these.
    pub fn is_in(&self, beginnings: &[&str]) -> bool {
        beginnings.iter().any(|beginning| self.path.starts_with(beginning))
    }

    /// The room of the crate in `folder` that it belongs to.
    pub fn room(&self, folder: &str) -> Option<&str> {
        let rest = self.path.strip_prefix(folder)?;
        rest.split('/').next().map(|first| first.strip_suffix(".rs").unwrap_or(first))
    }

    /// What comes before the tests at its bottom.
    pub fn production(&self) -> &str {
        let begins = |at: &usize| {
            let before = self.text[..*at].lines().next_back().unwrap_or_default();
            is_test_mark(before.trim())
        };
        let mut modules = self.text.match_indices("mod tests {").map(|(at, _)| at);
        &self.text[..modules.find(begins).unwrap_or(self.text.len())]
    }

    /// The rooms that its code names by `crate::`.
    pub fn named_rooms(&self) -> BTreeSet<String> {
        let lines = self.production().lines().filter(|line| !line.trim_start().starts_with("//"));
        let code: String = lines.map(|line| format!("{line}\n")).collect();
        let mut rooms = BTreeSet::new();
        for (at, mark) in code.match_indices("crate::") {
            let own = code[..at].chars().next_back().is_none_or(|before| !is_word(before) && before != '$');
            if own {
                take_names(&code[at + mark.len()..], &mut rooms);
            }
        }
        // Items of the crate's own root are no rooms; rooms are in lower case.
        rooms.retain(|name| name.starts_with(|first: char| first.is_ascii_lowercase()));
        rooms
    }
}

/// The first segment after `crate::`, or of each branch in its braces.
fn take_names(rest: &str, names: &mut BTreeSet<String>) {
    let word = |text: &str| text.chars().take_while(|&char| is_word(char)).collect::<String>();
    if !rest.starts_with('{') {
        names.insert(word(rest));
        return;
    }
    let (mut depth, mut expects_name) = (0, true);
    for (at, char) in rest.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 1 => return,
            '}' => depth -= 1,
            ',' if depth == 1 => expects_name = true,
            _ if depth == 1 && expects_name && is_word(char) => {
                names.insert(word(&rest[at..]));
                expects_name = false;
            }
            _ => {}
        }
    }
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// Whether `word` occurs in `text` and is not a part of a longer one.
pub fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let ends = word.ends_with("::") || after.is_none_or(|char| !is_word(char));
        before.is_none_or(|char| !is_word(char)) && ends
    })
}

/// The comment of a line, without what stands in backticks.
pub fn comment(line: &str) -> String {
    let after =
        line.split_once("// ").or_else(|| line.split_once("/// ")).or_else(|| line.split_once("//! "));
    let text = after.map_or("", |(_, text)| text);
    text.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn rooms_are_found_however_they_are_written() {
    let text = "use crate::{\n    a::{B, c},\n    d,\n};\nuse crate::e::F;\nlet x = crate::g::h();\n// crate::i\n\
                impl crate::Root {}\nmacro!($crate::j);\n";
    let source = Source { path: "x/src/y.rs".into(), text: text.into(), is_test: false };
    assert_eq!(source.named_rooms().into_iter().collect::<Vec<_>>(), ["a", "d", "e", "g"]);
}

#[test]
fn words_and_comments_are_told_from_their_surroundings() {
    assert!(has_word("at now", "now") && !has_word("knows", "now") && has_word("use sqlx::x", "sqlx::"));
    assert!(!has_word("foo_h2::x", "h2::"));
    assert_eq!(comment("let x = 1; // so `now` is"), "so   is");
    assert_eq!(comment("let url = 1;"), "");
}
