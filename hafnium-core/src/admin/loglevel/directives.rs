//! What is refused of a filter although the subscriber would take it.

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is accepted, for answers.
pub(super) const ACCEPTED: &str = "accepted are a level (off, error, warn, info, debug, trace) and directives for \
    targets, separated by commas, such as \"info,hafnium_data=debug,sqlx=off\"";

/// A word that is no level is a target to the subscriber, and everything else is then silent: `debgu` would turn the log
/// off.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(filter: &str) -> Result<(), String> {
    if filter.is_empty() {
        return Err("the body holds no filter".to_owned());
    }
    for directive in split(filter) {
        let directive = directive.trim();
        if directive.is_empty() {
            return Err("a directive is empty".to_owned());
        }
        let bare = !directive.contains(['=', '[']);
        if bare && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive)) {
            return Err(format!(
                "{directive:?} is no level; of a target, say the level: {directive}=debug"
            ));
        }
        let level = directive
            .rsplit_once('=')
            .filter(|(target, _)| !target.contains('[') || target.ends_with(']'));
        if let Some((_, level)) = level
            && !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
        {
            return Err(format!("{level:?} is no level"));
        }
    }
    Ok(())
}

/// Commas within a span's fields (`[span{a=1,b=2}]=debug`) separate no directives.
fn split(filter: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    filter.split(move |letter| {
        match letter {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_pass_and_a_misspelled_level_does_not_silence_the_log() {
        for good in [
            "debug",
            "INFO",
            "off",
            "info,sqlx=warn",
            "warn, hafnium::http=trace",
            "info,[request{method=\"GET\",id=1}]=debug",
            "info,hafnium[request]",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "debgu",
            "info,sqlx",
            "sqlx=wran",
            "info,,sqlx=warn",
            "info,sqlx=",
            "3x",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            check("info,sqlx"),
            Err("\"sqlx\" is no level; of a target, say the level: sqlx=debug".to_owned())
        );
    }
}
