//! A user and a password of one version, and the keys that say them.

use std::sync::Arc;

use hafnium_core::secret::{Bundle, Secret, Value};
use sqlx::postgres::PgConnectOptions;

use super::super::settings::PostgresSettings;
use super::super::url;

/// A key of the settings that says the user, the password or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Url,
    Login,
    User,
    Password,
}

impl Part {
    /// The key below that of the database.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Login => "login",
            Self::User => "user",
            Self::Password => "password",
        }
    }
}

/// A user and a password of one version. Shows neither; the values are wiped from memory with the last copy.
#[derive(Clone)]
pub(crate) struct Pair {
    values: Vec<(Part, Arc<Value>)>,
}

impl Pair {
    /// `options` for a login with this user and password.
    pub(crate) fn sign(&self, options: &PgConnectOptions) -> PgConnectOptions {
        let (mut user, mut password) = (None, None);
        for (part, value) in &self.values {
            match part {
                // Was read before, when the value came.
                Part::Url => (user, password) = url::login(value.expose()).unwrap_or_default(),
                Part::Login => {
                    if let Some((name, word)) = value.login() {
                        (user, password) = (Some(name.to_owned()), Some(word.to_owned()));
                    }
                }
                Part::User => user = Some(value.expose().to_owned()),
                Part::Password => password = Some(value.expose().to_owned()),
            }
        }
        let mut options = options.clone();
        if let Some(user) = user {
            options = options.username(&user);
        }
        if let Some(password) = password {
            options = options.password(&password);
        }
        options
    }

    /// The parts whose version is another than in `other`, each with what is shown of its version.
    pub(crate) fn news(&self, other: &Self) -> Vec<(Part, String)> {
        let pairs = self.values.iter().zip(&other.values);
        pairs
            .filter(|((_, mine), (_, theirs))| mine.version() != theirs.version())
            .map(|((part, mine), _)| (*part, mine.version().shown().to_owned()))
            .collect()
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.news(other).is_empty()
    }

    /// The value of each part.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.values.iter().map(|(_, value)| value)
    }
}

/// The secrets that make the pair, and the pair as they make it now.
pub(crate) struct Origin {
    pub(crate) secrets: Vec<(Part, Secret)>,
    pub(crate) bundle: Bundle<Pair>,
}

impl Origin {
    /// # Errors
    /// When user or password are said twice, or a value can't be read.
    pub(crate) fn new(settings: &PostgresSettings) -> Result<Self, String> {
        let mut secrets = vec![(Part::Url, settings.url.clone())];
        secrets.extend(
            settings
                .login
                .as_ref()
                .map(|login| (Part::Login, login.secret().clone())),
        );
        secrets.extend(settings.user.clone().map(|user| (Part::User, user)));
        secrets.extend(
            settings
                .password
                .clone()
                .map(|password| (Part::Password, password)),
        );
        let parts: Vec<_> = secrets.iter().map(|(part, _)| *part).collect();
        once(&parts, settings)?;
        let first = settings.url.current();
        let read = move |values: &[Arc<Value>]| read(&parts, values, &first);
        let bundle = Bundle::new(secrets.iter().map(|(_, secret)| secret.clone()), read);
        Ok(Self {
            bundle: bundle.map_err(|error| error.to_string())?,
            secrets,
        })
    }

    /// The keys that say who logs in, below that of the database, for errors.
    pub(crate) fn keys(&self) -> String {
        let named: Vec<_> = self.secrets.iter().map(|(part, _)| part.key()).collect();
        match named.as_slice() {
            // The URL says where the database is, and not who logs in.
            [_, "login"] | [_, "user", "password"] => named[1..].join(" and "),
            all => all.join(" and "),
        }
    }
}

/// User and password may each be said in one place only.
fn once(parts: &[Part], settings: &PostgresSettings) -> Result<(), String> {
    let (user, password) = url::login(settings.url.current().expose()).map_err(|error| error.to_string())?;
    let has = |part| parts.contains(&part);
    for part in [Part::User, Part::Password] {
        if has(Part::Login) && has(part) {
            let key = part.key();
            return Err(format!("login: says user and password together; remove {key}"));
        }
    }
    for (said, what, own) in [(user, "user", Part::User), (password, "password", Part::Password)] {
        let other = [Part::Login, own].into_iter().find(|part| has(*part));
        if let (Some(_), Some(other)) = (said, other) {
            let key = other.key();
            return Err(format!("{key}: the url names a {what} too; remove one of them"));
        }
    }
    Ok(())
}

/// The pair that `values` make. The errors hold no value.
fn read(parts: &[Part], values: &[Arc<Value>], first: &Value) -> Result<Pair, String> {
    for (part, value) in parts.iter().zip(values) {
        match part {
            Part::Url => {
                url::login(value.expose()).map_err(|error| error.to_string())?;
                if !url::same_place(first.expose(), value.expose()) {
                    return Err("url: more than user and password changed, which takes a restart".to_owned());
                }
            }
            Part::Login if value.login().is_none() => {
                return Err("login: expected a user and a password together".to_owned());
            }
            Part::User if value.expose().is_empty() => return Err("user: is empty".to_owned()),
            Part::Password if value.expose().is_empty() => return Err("password: is empty".to_owned()),
            _ => {}
        }
    }
    Ok(Pair {
        values: parts.iter().copied().zip(values.iter().cloned()).collect(),
    })
}

#[cfg(test)]
pub(super) fn pair(url: &str) -> Arc<Pair> {
    let settings = PostgresSettings::new(Secret::new(url));
    Origin::new(&settings).unwrap().bundle.current()
}

#[cfg(test)]
mod tests {
    use hafnium_core::secret::Login;

    use super::*;

    fn settings(url: &str) -> PostgresSettings {
        PostgresSettings::new(Secret::new(url))
    }

    fn signed(settings: &PostgresSettings) -> (String, String) {
        let origin = Origin::new(settings).unwrap();
        let options = PgConnectOptions::new_without_pgpass().password("nobody's");
        let options = origin.bundle.current().sign(&options);
        (options.get_username().to_owned(), origin.keys())
    }

    #[test]
    fn who_logs_in_is_said_by_the_url_or_by_keys_of_its_own() {
        let mut one = settings("postgres://app:hunter2@a/db");
        assert_eq!(signed(&one), ("app".to_owned(), "url".to_owned()));
        one = settings("postgres://app@a/db");
        one.password = Some(Secret::new("hunter2"));
        assert_eq!(signed(&one), ("app".to_owned(), "url and password".to_owned()));
        one = settings("postgres://a/db");
        one.user = Some(Secret::new("own"));
        one.password = Some(Secret::new("hunter2"));
        assert_eq!(signed(&one), ("own".to_owned(), "user and password".to_owned()));
        one = settings("postgres://a/db");
        one.login = Some(Login::new("lent", "hunter2"));
        assert_eq!(signed(&one), ("lent".to_owned(), "login".to_owned()));
    }

    #[test]
    fn what_is_said_twice_is_refused_and_shown_nowhere() {
        let login = Some(Login::new("lent", "hunter2"));
        let word = Some(Secret::new("hunter2"));
        let cases = [
            ("postgres://app@a/db", &login, &None, &None, "login"),
            ("postgres://a/db", &login, &None, &word, "remove password"),
            ("postgres://app:hunter2@a/db", &None, &None, &word, "password"),
            ("postgres://app@a/db", &None, &word, &None, "user"),
        ];
        for (url, login, user, password, named) in cases {
            let mut settings = settings(url);
            settings.login.clone_from(login);
            settings.user.clone_from(user);
            settings.password.clone_from(password);
            let error = Origin::new(&settings).err().unwrap();
            assert!(error.contains(named) && !error.contains("hunter2"), "{error}");
        }
    }
}
