//! `--set a.b=c`, the last word.

use super::super::origin::Origin;
use super::super::problem::{Problem, ProblemKind};
use super::super::tree::Node;
use super::Layer;

pub(crate) fn read(arguments: &[String]) -> Layer {
    let mut layer = Layer::empty();
    for (index, argument) in arguments.iter().enumerate() {
        match split(argument) {
            // Of two arguments for one key the later one counts.
            Some((path, value)) => layer.put(&path, Node::text(value, Origin::Set)),
            None => {
                // The argument is not repeated: it may hold a secret.
                let reason = format!("argument {} is not of the form `key.below=value`", index + 1);
                let problem = Problem::of(ProblemKind::Source, "--set", reason);
                layer.problems.push(problem.at(Origin::Set));
            }
        }
    }
    layer
}

fn split(argument: &str) -> Option<(Vec<String>, &str)> {
    let (key, value) = argument.split_once('=')?;
    let path: Vec<_> = key.split('.').map(|part| part.trim().to_owned()).collect();
    let whole = path
        .iter()
        .all(|part| !part.is_empty() && !part.contains(char::is_whitespace));
    whole.then_some((path, value))
}

#[cfg(test)]
mod tests {
    use super::super::super::tree::Value;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_no_key_is_refused_without_repeating_it() {
        for argument in ["canary", "=canary", "a..b=canary", ".=canary", "a b=canary"] {
            let layer = read(&[argument.to_owned()]);
            assert_eq!(layer.problems.len(), 1, "{argument}");
            assert!(!layer.problems[0].to_string().contains("canary"));
        }
    }

    proptest! {
        #[test]
        fn the_value_is_everything_behind_the_first_equals_sign(
            path in prop::collection::vec("[a-z_][a-z0-9_]{0,8}", 1..5),
            value in ".*",
        ) {
            let layer = read(&[format!("{}={value}", path.join("."))]);
            prop_assert!(layer.problems.is_empty());
            let node = layer.tree.at(&path).unwrap();
            prop_assert!(matches!(&node.value, Value::Text(text) if *text == value));
        }

        #[test]
        fn no_argument_panics(argument in ".*") {
            let layer = read(&[argument]);
            prop_assert!(layer.problems.len() <= 1);
        }
    }
}
