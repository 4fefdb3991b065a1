//! Paths that name the same file on every system.

/// The names of devices in each directory of Windows. A name may have any extension.
const DEVICES: &[&str] = &["aux", "con", "conin$", "conout$", "nul", "prn"];

/// Returns whether a path names the file that its segments name, on Windows as well.
///
/// Windows ends the name of a drive or a file with `:`, separates segments with `\`, removes dots
/// and blanks from the end of a name, and gives a file a second name such as `GIT~1`.
pub fn is_portable(path: &[u8]) -> bool {
    let is_reserved = |byte: &u8| b":\\".contains(byte);
    !path.iter().any(is_reserved) && path.split(|&byte| byte == b'/').all(is_portable_name)
}

fn is_portable_name(name: &[u8]) -> bool {
    let is_short = name.windows(2).any(|pair| pair[0] == b'~' && pair[1].is_ascii_digit());
    !matches!(name.last(), Some(b'.' | b' ')) && !is_short && !is_device(name)
}

fn is_device(name: &[u8]) -> bool {
    let end = name.iter().position(|&byte| byte == b'.').unwrap_or(name.len());
    let name = name[..end].to_ascii_lowercase();
    let name = String::from_utf8_lossy(&name);
    let name = name.trim_end_matches(' ');
    let port = name.strip_prefix("com").or(name.strip_prefix("lpt"));
    let is_digit = |c: char| c.is_ascii_digit() || "\u{b9}\u{b2}\u{b3}".contains(c);
    DEVICES.contains(&name)
        || port.is_some_and(|port| port.chars().count() == 1 && port.chars().all(is_digit))
}
