//! A page: its blocks between markers, its tables, its links.

use std::{
    env, fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::root;

const BLESS_VARIABLE: &str = "GPUF_BLESS";
const SKIPPED: [&str; 4] = ["target", ".git", ".venv", "node_modules"];
const TEXT_EXTENSIONS: [&str; 12] =
    ["md", "rs", "toml", "sh", "py", "js", "yaml", "yml", "sql", "cfg", "conf", "service"];

/// A page of text.
pub struct Page {
    /// From the workspace's root.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl Page {
    /// Reads a page.
    pub fn open(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    fn range(&self, name: &str) -> std::ops::Range<usize> {
        let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
        let missing = |mark: &str| -> ! { panic!("{} has no {mark}", self.path) };
        let from = self.text.find(&begin).unwrap_or_else(|| missing(&begin)) + begin.len();
        let length = self.text[from..].find(&end).unwrap_or_else(|| missing(&end));
        from..from + length
    }

    /// What stands between the markers of `name`.
    pub fn block(&self, name: &str) -> &str {
        &self.text[self.range(name)]
    }

    /// Compares a block with what it should be, or writes it when told to.
    pub fn assert_block(&self, name: &str, expected: &str) {
        // Tests run side by side, and each that writes replaces the whole page.
        static WRITING: Mutex<()> = Mutex::new(());
        let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let current = Self::open(&self.path);
        if current.block(name) == expected {
            return;
        }
        assert!(
            env::var_os(BLESS_VARIABLE).is_some(),
            "block {name:?} of {} differs from the code; if that is meant, run this with {BLESS_VARIABLE}=1. \
             The code says:\n{expected}",
            self.path
        );
        let range = current.range(name);
        let renewed = [&current.text[..range.start], expected, &current.text[range.end..]].concat();
        fs::write(root().join(&self.path), renewed).unwrap();
    }

    /// The rows of the table in a block, cell by cell, without its head.
    pub fn rows(&self, name: &str) -> Vec<Vec<String>> {
        let rows = self.block(name).lines().filter(|line| line.starts_with('|')).skip(2);
        rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
            .collect()
    }

    /// Where its links lead, those to other hosts left out.
    pub fn links(&self) -> Vec<String> {
        let mut in_code = false;
        let prose = self.text.lines().filter(|line| {
            let fence = line.trim_start().starts_with("```");
            in_code ^= fence;
            !in_code && !fence
        });
        let link = |rest: &str| rest.split(')').next().map(str::to_owned);
        let links = prose.flat_map(|line| line.split("](").skip(1).filter_map(link));
        links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")).collect()
    }

    /// Whether a link leads to a file that exists and, with a fragment, to a heading in it.
    pub fn resolves(&self, link: &str) -> bool {
        let (file, fragment) = link.split_once('#').map_or((link, None), |(file, at)| (file, Some(at)));
        let folder = Path::new(&self.path).parent().unwrap();
        let target = if file.is_empty() { self.path.clone() } else { normal(&folder.join(file)) };
        let found = root().join(&target).exists();
        found && fragment.is_none_or(|at| Self::open(&target).headings().any(|heading| heading == at))
    }

    fn headings(&self) -> impl Iterator<Item = String> {
        let titles = self.text.lines().filter(|line| line.starts_with('#'));
        titles.map(|title| {
            let title = title.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
            kept.collect::<String>().replace(' ', "-")
        })
    }
}

/// Resolves `..`.
fn normal(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.to_str().unwrap().split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Every page of the workspace.
pub fn pages() -> Vec<Page> {
    let pages: Vec<_> =
        text_files().into_iter().filter(|path| path.ends_with(".md")).map(|path| Page::open(&path)).collect();
    assert!(pages.len() > 10, "the pages are somewhere else");
    pages
}

/// Every text file of the workspace, from its root.
pub fn text_files() -> Vec<String> {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    let base = root();
    files.iter().map(|path| path.strip_prefix(&base).unwrap().to_string_lossy().replace('\\', "/")).collect()
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                collect(&path, files);
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        // Scripts and recipes often have none.
        if extension.is_none_or(|extension| TEXT_EXTENSIONS.contains(&extension)) {
            files.push(path);
        }
    }
}

#[test]
fn tables_and_links_are_read() {
    let text = "[a](b.md#c) [d](https://e)\n<!-- t: begin -->\n| x | y |\n|---|---|\n| `1` | two |\n<!-- t: end -->\n\
                ```\n[f](g)\n```\n# A Title: `x`\n";
    let page = Page { path: "docs/p.md".into(), text: text.into() };
    assert_eq!(page.links(), ["b.md#c"]);
    assert_eq!(page.rows("t"), [["`1`", "two"]]);
    assert_eq!(page.headings().collect::<Vec<_>>(), ["a-title-x"]);
    assert_eq!(normal(Path::new("docs/adr/../x.md")), "docs/x.md");
}
