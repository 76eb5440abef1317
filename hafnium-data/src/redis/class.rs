//! Which commands may be repeated although nobody knows whether they ran.
//!
//! The table names what leaves the same state and gives the same reply the second time; what it does not name is not
//! repeated. Counts that `DEL` or `SADD` return may be lower the second time, the state is the same.

use redis::{Arg, Cmd, Pipeline};

/// Whether a second run of `command` does no harm.
pub(crate) fn is_harmless(command: &Cmd) -> bool {
    let mut words = command.args_iter().map(|arg| match arg {
        Arg::Simple(bytes) => bytes.to_ascii_uppercase(),
        _ => Vec::new(),
    });
    let Some(name) = words.next() else {
        return false;
    };
    let mut without = |options: &[&str]| !words.any(|word| options.iter().any(|o| o.as_bytes() == word));
    match name.as_slice() {
        // The first two words of SET are the key and the value, which may spell an option: then it is not repeated.
        b"SET" => without(&["NX", "XX", "GET"]),
        b"ZADD" => without(&["INCR", "NX", "XX", "GT", "LT"]),
        b"EXPIRE" | b"PEXPIRE" => without(&["NX", "XX", "GT", "LT"]),
        b"PING" | b"ECHO" | b"ROLE" | b"INFO" | b"TIME" | b"DBSIZE" | b"GET" | b"MGET" | b"STRLEN"
        | b"GETRANGE" | b"EXISTS" | b"TTL" | b"PTTL" | b"TYPE" | b"SCAN" | b"HGET" | b"HMGET"
        | b"HGETALL" | b"HKEYS" | b"HVALS" | b"HLEN" | b"HEXISTS" | b"HSCAN" | b"LRANGE" | b"LLEN"
        | b"LINDEX" | b"SMEMBERS" | b"SISMEMBER" | b"SMISMEMBER" | b"SCARD" | b"SSCAN" | b"SINTER"
        | b"SUNION" | b"SDIFF" | b"ZSCORE" | b"ZMSCORE" | b"ZRANGE" | b"ZRANGEBYSCORE" | b"ZREVRANGE"
        | b"ZRANK" | b"ZREVRANK" | b"ZCARD" | b"ZCOUNT" | b"ZSCAN" | b"GETBIT" | b"BITCOUNT" | b"PFCOUNT"
        | b"XRANGE" | b"XREVRANGE" | b"XLEN" => true,
        b"SETEX" | b"PSETEX" | b"MSET" | b"DEL" | b"UNLINK" | b"HSET" | b"HDEL" | b"SADD" | b"SREM"
        | b"ZREM" | b"PFADD" | b"SETBIT" => true,
        _ => false,
    }
}

/// Whether a second run of every command of `pipeline` does no harm.
pub(crate) fn are_harmless(pipeline: &Pipeline) -> bool {
    pipeline.cmd_iter().all(is_harmless)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harmless(line: &str) -> bool {
        let mut command = Cmd::new();
        command.arg(line.split(' ').collect::<Vec<_>>());
        is_harmless(&command)
    }

    #[test]
    fn what_counts_or_depends_on_what_was_there_is_not_repeated() {
        for line in [
            "INCR k",
            "incrby k 2",
            "APPEND k v",
            "LPUSH k v",
            "RPOP k",
            "GETDEL k",
            "SET k v NX",
            "set k v get",
            "ZADD k INCR 1 m",
            "XADD k * f v",
            "EVAL s 0",
            "EXPIRE k 1 NX",
            "",
            "NEWCOMMAND k",
        ] {
            assert!(!harmless(line), "{line}");
        }
    }

    #[test]
    fn reads_and_plain_assignments_are_repeated() {
        for line in [
            "GET k",
            "set k v EX 10",
            "MSET a 1 b 2",
            "DEL a b",
            "HSET k f v",
            "ZADD k 1 m",
            "EXPIRE k 1",
        ] {
            assert!(harmless(line), "{line}");
        }
    }

    #[test]
    fn a_pipeline_is_as_harmless_as_its_worst_command() {
        let mut pipeline = redis::pipe();
        pipeline.atomic().set("k", 1).get("k");
        assert!(are_harmless(&pipeline));
        pipeline.incr("k", 1);
        assert!(!are_harmless(&pipeline));
    }
}
