//! How a store is named in the configuration: `file:DIRECTORY`, `memory:`, or a Redis.

use core::fmt;
use core::str::FromStr;
use std::path::PathBuf;

use crate::redis::{RedisUrl, RedisUrlError};

/// Which store to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `file:DIRECTORY` – the embedded store in a directory, which is created if need be.
    Directory(PathBuf),
    /// `memory:` – nothing survives the process.
    Memory,
    /// `redis://…`, `redis-sentinel://…`, `redis-cluster://…`, and the same with `rediss` – what several nodes share.
    Redis(RedisUrl),
}

/// Why a text names no store. The text is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// No known scheme.
    #[error("store must be `file:DIRECTORY`, `memory:` or `redis://HOST`")]
    Scheme,
    /// `file:` without a directory.
    #[error("store `file:` needs a directory, as in `file:/var/lib/ydash`")]
    NoDirectory,
    /// `file://host/..` with a host.
    #[error("store `file://` takes no host: write `file:DIRECTORY` or `file:///DIRECTORY`")]
    Host,
    /// `memory:` takes nothing after the colon.
    #[error("store `memory:` takes nothing after the colon")]
    MemoryPath,
    /// A Redis that is none.
    #[error("{0}")]
    Redis(#[from] RedisUrlError),
}

impl StoreUrl {
    /// The Redis that it is, which other nodes can use as well.
    #[must_use]
    pub fn redis(&self) -> Option<&RedisUrl> {
        match self {
            StoreUrl::Redis(url) => Some(url),
            StoreUrl::Directory(_) | StoreUrl::Memory => None,
        }
    }
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(url: &str) -> Result<StoreUrl, StoreUrlError> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(StoreUrl::Memory),
            Some(("memory", _)) => Err(StoreUrlError::MemoryPath),
            Some(("file", path)) => {
                let directory = match path.strip_prefix("//") {
                    None => path,
                    Some(path) if path.starts_with('/') => path,
                    Some("") => "",
                    Some(_) => return Err(StoreUrlError::Host),
                };
                if directory.is_empty() {
                    return Err(StoreUrlError::NoDirectory);
                }
                Ok(StoreUrl::Directory(PathBuf::from(directory)))
            }
            Some((scheme, _)) if scheme.starts_with("redis") => Ok(StoreUrl::Redis(url.parse()?)),
            _ => Err(StoreUrlError::Scheme),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Directory(directory) => write!(f, "file:{}", directory.display()),
            StoreUrl::Memory => f.write_str("memory:"),
            StoreUrl::Redis(url) => write!(f, "{url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_stores() {
        for (url, expected) in [
            ("memory:", Ok(StoreUrl::Memory)),
            ("file:data", Ok(StoreUrl::Directory("data".into()))),
            ("file:./a b:c", Ok(StoreUrl::Directory("./a b:c".into()))),
            ("file:/var/lib/ydash", Ok(StoreUrl::Directory("/var/lib/ydash".into()))),
            ("file:///var/lib/ydash", Ok(StoreUrl::Directory("/var/lib/ydash".into()))),
            ("file:", Err(StoreUrlError::NoDirectory)),
            ("file://", Err(StoreUrlError::NoDirectory)),
            ("file://host/x", Err(StoreUrlError::Host)),
            ("memory:x", Err(StoreUrlError::MemoryPath)),
            ("", Err(StoreUrlError::Scheme)),
            ("data", Err(StoreUrlError::Scheme)),
            ("ftp://x", Err(StoreUrlError::Scheme)),
            ("redis://h/1", Ok(StoreUrl::Redis("redis://h:6379/1".parse().unwrap()))),
            ("rediss-cluster://h", Ok(StoreUrl::Redis("rediss-cluster://h:6379".parse().unwrap()))),
            ("redis://", Err(StoreUrlError::Redis(RedisUrlError::NoHost))),
            ("redisx://h", Err(StoreUrlError::Redis(RedisUrlError::Scheme))),
        ] {
            assert_eq!(url.parse(), expected, "{url}");
        }
    }

    #[test]
    fn display_parses_back() {
        for url in ["memory:", "file:data", "file:/var/lib/ydash", "redis-sentinel://h:1/0?master=m"] {
            assert_eq!(url.parse::<StoreUrl>().unwrap().to_string(), url);
        }
    }
}
