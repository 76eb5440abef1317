//! Which nodes stand in the zone of this process: reads prefer them.

use super::topology::NodeId;

/// Where the nodes stand, and where this process does.
#[derive(Debug, Default)]
pub(crate) struct Zones {
    own: Option<String>,
    /// By their place in the URL; empty where it is not known.
    nodes: Vec<String>,
}

impl Zones {
    /// `nodes` has the zone of each of `hosts` nodes, or nothing.
    ///
    /// # Errors
    /// When it has those of some.
    pub(crate) fn new(own: Option<String>, nodes: Vec<String>, hosts: usize) -> Result<Self, String> {
        if !nodes.is_empty() && nodes.len() != hosts {
            return Err(format!(
                "zones: expected one for each of the {hosts} hosts of the url, in its order, \"\" where it is not known; \
                 found {}",
                nodes.len()
            ));
        }
        Ok(Self { own, nodes })
    }

    /// The zone of a node, where it is known.
    pub(crate) fn of(&self, id: NodeId) -> Option<&str> {
        let zone = self.nodes.get(id.0).map(String::as_str);
        zone.filter(|zone| !zone.is_empty())
    }

    /// Whether a node stands where this process does.
    pub(crate) fn is_own(&self, id: NodeId) -> bool {
        self.own.is_some() && self.of(id) == self.own.as_deref()
    }

    /// Leaves those of the own zone, if there are any.
    pub(crate) fn prefer_own<T>(&self, nodes: &mut Vec<T>, id: impl Fn(&T) -> NodeId) {
        if nodes.iter().any(|node| self.is_own(id(node))) {
            nodes.retain(|node| self.is_own(id(node)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(own: Option<&str>, nodes: &[&str]) -> Vec<usize> {
        let zones = nodes.iter().copied().map(str::to_owned).collect();
        let zones = Zones::new(own.map(str::to_owned), zones, 3).unwrap();
        let mut ids: Vec<_> = (0..3).map(NodeId).collect();
        zones.prefer_own(&mut ids, |id| *id);
        ids.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn nodes_of_the_own_zone_come_first_and_all_others_where_there_are_none() {
        assert_eq!(preferred(Some("b"), &["a", "b", "b"]), [1, 2]);
        assert_eq!(preferred(Some("c"), &["a", "b", "b"]), [0, 1, 2]);
        assert_eq!(preferred(None, &["a", "b", "b"]), [0, 1, 2]);
        assert_eq!(preferred(None, &["", "", ""]), [0, 1, 2]);
        assert_eq!(preferred(Some("a"), &[]), [0, 1, 2]);
    }
}
