//! A text: built in, in memory, or any number of files, which are mapped and never copied whole.
//!
//! Invariant: the bytes of a [`Text`] are those of its files one after the other, in the order of their paths. Files that change
//! while they are read are an error, not other bytes.

use std::fs::{self, File, Metadata};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::TextError;
use crate::files;
use crate::hash::Fnv1a;

/// Eight of Shakespeare's plays; `models/data/README.md` says where they come from.
static BUNDLED: &[u8] = include_bytes!("../../data/shakespeare.txt");

/// Name of the bundled text in manifests and messages.
pub const BUNDLED_NAME: &str = "built-in:shakespeare";

/// A text with its name. Copies share the bytes.
#[derive(Clone, Debug)]
pub struct Text {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    pieces: Vec<Piece>,
    /// Where each piece ends.
    ends: Vec<usize>,
    identity: OnceLock<TextIdentity>,
}

#[derive(Debug)]
enum Piece {
    Static(&'static [u8]),
    Memory(Vec<u8>),
    Mapped { path: PathBuf, file: File, found: Metadata, bytes: Mmap },
}

/// What tells two texts apart, kept in checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextIdentity {
    /// Path, or [`BUNDLED_NAME`].
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// FNV-1a hash of the bytes, in hexadecimal.
    pub fnv1a: String,
}

impl Text {
    /// The text that is built into the program.
    pub fn bundled() -> Text {
        Text::new(BUNDLED_NAME.into(), vec![Piece::Static(BUNDLED)])
    }

    /// The text of a file, of all files in a folder and the folders in it, or of all files that a pattern such as `data/*.txt`
    /// names. Any bytes will do; they need not be UTF-8. Files and folders whose names begin with a dot are passed over.
    pub fn from_path(path: &Path) -> Result<Text, TextError> {
        let mut files = Vec::new();
        let pattern = path.to_str().filter(|text| text.contains(['*', '?', '['])).filter(|_| !path.exists());
        match pattern {
            None => collect(path, &mut files)?,
            Some(pattern) => {
                let wrong = |message: String| TextError::Pattern { pattern: pattern.to_string(), message };
                for found in glob::glob(pattern).map_err(|error| wrong(error.to_string()))? {
                    let found = found.map_err(|error| wrong(error.to_string()))?;
                    if found.is_file() {
                        files.push(found);
                    }
                }
                if files.is_empty() {
                    return Err(wrong("no file has such a name".to_string()));
                }
            }
        }
        files.sort();
        let pieces: Vec<Piece> = files.iter().map(|file| Piece::map(file)).collect::<Result<_, _>>()?;
        Text::new(path.display().to_string(), pieces).not_empty()
    }

    /// A text that is already in memory.
    pub fn from_bytes(name: String, bytes: Vec<u8>) -> Result<Text, TextError> {
        Text::new(name, vec![Piece::Memory(bytes)]).not_empty()
    }

    fn new(name: String, mut pieces: Vec<Piece>) -> Text {
        pieces.retain(|piece| !piece.bytes().is_empty());
        let mut end = 0;
        let ends = pieces.iter().map(|piece| {
            end += piece.bytes().len();
            end
        });
        let ends = ends.collect();
        Text { inner: Arc::new(Inner { name, pieces, ends, identity: OnceLock::new() }) }
    }

    fn not_empty(self) -> Result<Text, TextError> {
        if self.is_empty() { Err(TextError::Empty { name: self.name().to_string() }) } else { Ok(self) }
    }

    /// Path, or [`BUNDLED_NAME`].
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.inner.ends.last().copied().unwrap_or_default()
    }

    /// Whether there is nothing in it; never so for one that was given out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many files that are not empty it has.
    pub fn files(&self) -> usize {
        self.inner.pieces.len()
    }

    /// The parts of a range that lie in one file each, in their order.
    ///
    /// # Panics
    /// If the range does not lie within the text.
    pub fn slices(&self, range: Range<usize>) -> impl Iterator<Item = Result<&[u8], TextError>> {
        assert!(range.end <= self.len(), "{range:?} lies within a text of {} bytes", self.len());
        let first = self.inner.ends.partition_point(|end| *end <= range.start);
        let pieces = self.inner.pieces.iter().zip(&self.inner.ends).skip(first);
        pieces.take_while(move |(piece, end)| **end - piece.bytes().len() < range.end).map(
            move |(piece, end)| {
                let begin = end - piece.bytes().len();
                piece.unchanged()?;
                Ok(&piece.bytes()[range.start.saturating_sub(begin)..range.end.min(*end) - begin])
            },
        )
    }

    /// The bytes of a range.
    ///
    /// # Panics
    /// If the range does not lie within the text.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<u8>, TextError> {
        let mut bytes = Vec::with_capacity(range.len());
        for slice in self.slices(range) {
            bytes.extend_from_slice(slice?);
        }
        Ok(bytes)
    }

    /// What tells it from another text. Reads it whole when it is asked first.
    pub fn identity(&self) -> &TextIdentity {
        self.inner.identity.get_or_init(|| {
            let mut hash = Fnv1a::default();
            self.inner.pieces.iter().for_each(|piece| hash.update(piece.bytes()));
            let fnv1a = format!("{:016x}", hash.value());
            TextIdentity { name: self.inner.name.clone(), bytes: self.len() as u64, fnv1a }
        })
    }
}

impl TextIdentity {
    /// Whether the bytes are the same, whatever the names.
    pub fn same_content(&self, other: &TextIdentity) -> bool {
        self.bytes == other.bytes && self.fnv1a == other.fnv1a
    }
}

impl Piece {
    fn map(path: &Path) -> Result<Piece, TextError> {
        let unreadable = |source| TextError::Unreadable { path: path.into(), source };
        let file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        // It is only read after `unchanged` has seen that the file still has its length and time.
        let bytes = files::map(&file).map_err(unreadable)?;
        Ok(Piece::Mapped { path: path.into(), file, found, bytes })
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Static(bytes) => bytes,
            Piece::Memory(bytes) => bytes,
            Piece::Mapped { bytes, .. } => bytes,
        }
    }

    /// An error if the file is not as it was when it was opened.
    fn unchanged(&self) -> Result<(), TextError> {
        let Piece::Mapped { path, file, found, .. } = self else { return Ok(()) };
        let now = file.metadata().map_err(|source| TextError::Unreadable { path: path.clone(), source })?;
        let is_same = now.len() == found.len() && now.modified().ok() == found.modified().ok();
        if is_same { Ok(()) } else { Err(TextError::Changed { path: path.clone() }) }
    }
}

/// The plain files at a path: itself, or those in the folder.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), TextError> {
    let unreadable = |source| TextError::Unreadable { path: path.into(), source };
    let kind = fs::metadata(path).map_err(unreadable)?;
    if kind.is_file() {
        files.push(path.into());
        return Ok(());
    }
    if !kind.is_dir() {
        return Err(TextError::NotAFile { path: path.into() });
    }
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        // Folders are entered, links to folders are not: they can lead in circles.
        let is_folder = entry.file_type().map_err(unreadable)?.is_dir();
        if !is_hidden && (is_folder || entry.path().is_file()) {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}
