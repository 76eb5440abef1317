//! How the reference to a secret elsewhere is written: `scheme:path` or `scheme:path#key`.

use super::provider::Address;

/// The schemes there are, each with the feature that answers it.
const SCHEMES: [(&str, &str, bool); 5] = [
    ("aws-sm", "aws", cfg!(feature = "aws")),
    ("aws-ssm", "aws-ssm", cfg!(feature = "aws-ssm")),
    ("vault", "vault", cfg!(feature = "vault")),
    ("vault-db", "vault", cfg!(feature = "vault")),
    ("vault-static", "vault", cfg!(feature = "vault")),
];

/// The longest path or key that is taken; every provider's own limit is below.
const LENGTH: usize = 2048;

/// The address that `text` writes; none where `text` is no reference to a place elsewhere, and why it can't be one
/// where it begins like one. The reason repeats nothing but the scheme.
pub(super) fn parse(text: &str) -> Option<Result<Address, String>> {
    let (scheme, rest) = text.split_once(':')?;
    let (scheme, feature, built) = SCHEMES.into_iter().find(|(known, ..)| *known == scheme)?;
    let refuse = |reason: String| Some(Err(format!("a reference that begins with `{scheme}:`, {reason}")));
    if !built {
        return refuse(format!(
            "for which this build has no source (feature `{feature}`)"
        ));
    }
    let (path, key) = match rest.split_once('#') {
        Some((path, key)) => (path, Some(key)),
        None => (rest, None),
    };
    for (part, what) in [(Some(path), "path"), (key, "key after `#`")] {
        let Some(part) = part else { continue };
        if part.is_empty() {
            return refuse(format!("without a {what}"));
        }
        if part.len() > LENGTH || part.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return refuse(format!(
                "whose {what} holds a blank or a control character, or is longer than {LENGTH} bytes"
            ));
        }
    }
    Some(Ok(Address {
        scheme: scheme.to_owned(),
        path: path.to_owned(),
        key: key.map(str::to_owned),
    }))
}
