//! The mounted config tree: a directory of files, as Kubernetes mounts a ConfigMap or a Secret.
//!
//! `postgres.ledger.url` and `postgres/ledger/url` are files that hold the value of that key; one newline at the end
//! is not part of it. Files that end in `.toml` are read as `hafnium.toml` is, before the single values. Names that
//! begin with a dot are passed over: Kubernetes keeps its own links under such names.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::origin::Origin;
use super::super::problem::{Problem, ProblemKind};
use super::super::tree::Node;
use super::{Layer, file};
use crate::secret::trim_newline;

/// How deep directories are followed.
const DEPTH: usize = 8;

pub(crate) fn read(directory: &Path) -> Layer {
    let mut layer = Layer::empty();
    let mut files = Vec::new();
    collect(directory, &mut Vec::new(), &mut files, &mut layer);
    let (documents, values): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|(path, _)| path.extension().is_some_and(|extension| extension == "toml"));
    for (path, _) in documents {
        let document = file::read(&path, &path);
        layer.tree.merge(document.tree);
        layer.problems.extend(document.problems);
    }
    for (path, key) in values {
        match fs::read_to_string(&path) {
            Ok(text) => {
                let node = Node::text(trim_newline(&text), Origin::Tree(path));
                layer.put(&key, node);
            }
            Err(error) => unreadable(&path, &error, &mut layer),
        }
    }
    layer
}

/// The files below `directory` that [`read`] reads.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(directory, &mut Vec::new(), &mut files, &mut Layer::empty());
    files.into_iter().map(|(path, _)| path).collect()
}

type Found = Vec<(PathBuf, Vec<String>)>;

fn collect(directory: &Path, key: &mut Vec<String>, files: &mut Found, layer: &mut Layer) {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => return unreadable(directory, &error, layer),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            let name = path.display().to_string();
            let problem = Problem::of(ProblemKind::Source, name, "the file's name is not UTF-8 text");
            layer.problems.push(problem);
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let length = key.len();
        key.extend(name.split('.').map(str::to_owned));
        // Follows links: what Kubernetes mounts are links into a directory that is swapped as a whole.
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && length < DEPTH => collect(&path, key, files, layer),
            Ok(metadata) if metadata.is_file() => files.push((path, key.clone())),
            Ok(_) => {}
            Err(error) => unreadable(&path, &error, layer),
        }
        key.truncate(length);
    }
}

fn unreadable(path: &Path, error: &std::io::Error, layer: &mut Layer) {
    let reason = format!("can't be read (HAFNIUM_CONFIG_DIR): {}", error.kind());
    let name = path.display().to_string();
    layer
        .problems
        .push(Problem::of(ProblemKind::Source, name, reason));
}
