//! Whether the connections that all replicas open together fit into what the servers allow.

#[cfg(feature = "postgres")]
use hafnium_data::postgres::Capacity;

use crate::assembly::Clients;

/// What a database of this service wants of its server.
#[derive(Debug)]
pub(crate) struct Demand {
    #[cfg(feature = "postgres")]
    name: String,
    #[cfg(feature = "postgres")]
    capacity: Capacity,
}

/// Asks the server of the component `name`, if it is a database. What can't be asked is not remarked on.
#[cfg(feature = "postgres")]
pub(crate) async fn ask(name: &str, clients: &Clients) -> Option<Demand> {
    let database = name.strip_prefix("postgres.")?;
    let (_, client) = clients.postgres.iter().find(|(one, _)| one == database)?;
    let capacity = client.capacity().await.ok()?;
    Some(Demand {
        name: name.to_owned(),
        capacity,
    })
}

#[cfg(not(feature = "postgres"))]
pub(crate) async fn ask(_: &str, _: &Clients) -> Option<Demand> {
    None
}

#[cfg(not(feature = "postgres"))]
pub(crate) fn lines(_: &[Demand], _: Option<u32>) -> Vec<String> {
    Vec::new()
}

/// A line for each server, and for each database that could see more.
#[cfg(feature = "postgres")]
pub(crate) fn lines(demands: &[Demand], replicas: Option<u32>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut told = Vec::new();
    for demand in demands {
        let system = demand.capacity.system;
        if told.contains(&system) {
            continue;
        }
        told.push(system);
        let same: Vec<_> = demands
            .iter()
            .filter(|one| one.capacity.system == system)
            .collect();
        lines.push(budget(&same, replicas));
    }
    for demand in demands {
        if let Some(grant) = &demand.capacity.grant {
            lines.push(format!(
                "note: {}: how far replicas have received can't be seen; {grant} would show it",
                demand.name
            ));
        }
    }
    lines
}

/// What the databases of one server take of it.
#[cfg(feature = "postgres")]
fn budget(demands: &[&Demand], replicas: Option<u32>) -> String {
    let names: Vec<_> = demands.iter().map(|demand| demand.name.as_str()).collect();
    let names = names.join(" and ");
    let capacities = || demands.iter().map(|demand| &demand.capacity);
    let each: u64 = capacities().map(|one| u64::from(one.per_process)).sum();
    let allowed = capacities().map(|one| u64::from(one.allowed)).min();
    let allowed = allowed.unwrap_or_default();
    let others = capacities().map(|one| u64::from(one.others)).max();
    let others = others.unwrap_or_default();
    let Some(replicas) = replicas.map(u64::from) else {
        return format!(
            "{names}: a process opens up to {each} of {allowed} connections, others have {others}; set \
             replicas, the number of processes, to see what is left"
        );
    };
    let wanted = replicas * each;
    match allowed.checked_sub(wanted + others) {
        Some(left) => format!(
            "{names}: {replicas} replicas open up to {wanted} of {allowed} connections, others have {others}: {left} \
             are left"
        ),
        None => format!(
            "warning: {names}: {replicas} replicas open up to {wanted} connections, others have {others}, and only \
             {allowed} are allowed: lower max or raise max_connections of the server"
        ),
    }
}
