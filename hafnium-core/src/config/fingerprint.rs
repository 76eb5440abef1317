//! What the files of a configuration hold, as one number to compare.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::environment::Environment;
use super::layer::{directory, stack};
use super::sources::Sources;

/// The content of all files of a configuration, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

/// Reads the files of `sources`, for whatever environment. What can't be read is part of the number as well.
pub(crate) fn of(sources: &Sources) -> Fingerprint {
    let of_environments = Environment::ALL.map(|environment| format!("hafnium.{environment}.toml"));
    let names = ["hafnium.toml".to_owned()].into_iter().chain(of_environments);
    let mut files: Vec<PathBuf> = names.filter_map(|name| sources.file(&name)).collect();
    files.extend(
        stack::mounted_tree(sources)
            .iter()
            .flat_map(|tree| directory::files(tree)),
    );
    let mut hash = Sha256::new();
    for path in files {
        add(&mut hash, &path);
    }
    Fingerprint(hash.finalize().into())
}

fn add(hash: &mut Sha256, path: &Path) {
    let mut part = |bytes: &[u8]| {
        // With its length, or two files could pass a byte from one to the other unseen.
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(path.as_os_str().as_encoded_bytes());
    match fs::read(path) {
        Ok(content) => part(&content),
        Err(error) => part(error.kind().to_string().as_bytes()),
    }
}
