//! Files: read only if they are plain, and no more of them than is asked for; written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a plain file of at most so many bytes. A device or a pipe, which may never end, is not opened.
pub fn read_limited(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("the file is larger than {most} bytes")));
    }
    Ok(bytes)
}

/// The same as text.
pub fn read_limited_text(path: &Path, most: u64) -> io::Result<String> {
    let text = String::from_utf8(read_limited(path, most)?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error().to_string()))
}

/// A file as memory. What it is mapped for must not be changed in place meanwhile: files of this program's own are replaced
/// whole, under another name first; whoever maps a user's file looks before each read whether it is as it was.
pub fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is only read, as plain bytes, of which every value is one. Bytes that another process writes are
    // what they are; a file that it cuts short ends the program with a signal, and no memory but the file's is at stake.
    unsafe { Mmap::map(file) }
}

/// Writes a file under another name first, so that one of this name is old or new, and never half of either.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Readable for all whom the user lets, as any file that is made.
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
