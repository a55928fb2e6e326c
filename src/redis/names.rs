//! Names in a sorted set, read in pages: nobody else has to wait for a long list.

use super::{Command, Redis, RedisError, Value};

/// Names that begin alike, in the order of their bytes. All members of the set have the score 0.
pub struct Names<'a> {
    redis: &'a Redis,
    key: String,
    from: Vec<u8>,
    to: Vec<u8>,
    is_over: bool,
}

impl<'a> Names<'a> {
    /// Those of the set at `key` that begin with `prefix` and come behind `after`.
    #[must_use]
    pub fn new(redis: &'a Redis, key: String, prefix: &str, after: Option<&str>) -> Names<'a> {
        let from = match after {
            Some(after) if after >= prefix => format!("({after}").into_bytes(),
            _ => format!("[{prefix}").into_bytes(),
        };
        // No UTF-8 holds this byte, so it is beyond every name that starts with the prefix.
        let to = [b"(", prefix.as_bytes(), b"\xff"].concat();
        Names { redis, key, from, to, is_over: false }
    }

    /// The next ones, at most `count`; `None` when there are no more.
    ///
    /// # Errors
    /// As [`Redis::run`]. The same page can be asked for again.
    pub async fn next_page(&mut self, count: usize) -> Result<Option<Vec<String>>, RedisError> {
        const UNEXPECTED: RedisError = RedisError::Unexpected("ZRANGEBYLEX");
        if self.is_over {
            return Ok(None);
        }
        let read = Command::new("ZRANGEBYLEX").key(&self.key).arg(&self.from[..]).arg(&self.to[..]);
        let page = self.redis.run(read.arg("LIMIT").arg(0).arg(count)).await?;
        let Value::Array(page) = page else { return Err(UNEXPECTED) };
        let name = |part| match part {
            Value::BulkString(name) => String::from_utf8(name).ok(),
            _ => None,
        };
        let page: Vec<String> = page.into_iter().map(name).collect::<Option<_>>().ok_or(UNEXPECTED)?;
        self.is_over = page.len() < count;
        let Some(last) = page.last() else { return Ok(None) };
        self.from = format!("({last}").into_bytes();
        Ok(Some(page))
    }
}
