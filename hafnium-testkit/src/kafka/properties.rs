//! The configuration file of a broker.

/// Where a broker listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) controller: u16,
}

/// `node.id` is the position plus one; every node is broker and controller. Names that an older or newer release does not
/// know are only warned about, so one text serves 3.9 and 4.1.
pub(super) fn properties(node: usize, ports: &[Ports], logs: &str) -> String {
    let count = ports.len();
    let replication = count.min(3);
    let in_sync = replication.saturating_sub(1).max(1);
    let voters: Vec<_> = (1..)
        .zip(ports)
        .map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller))
        .collect();
    let (client, controller) = ports
        .get(node)
        .map_or((0, 0), |ports| (ports.client, ports.controller));
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id={}\n\
         controller.quorum.voters={}\n\
         listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
         log.dirs={logs}\n\
         default.replication.factor={replication}\n\
         min.insync.replicas={in_sync}\n\
         offsets.topic.replication.factor={replication}\n\
         transaction.state.log.replication.factor={replication}\n\
         transaction.state.log.min.isr={in_sync}\n\
         share.coordinator.state.topic.replication.factor={replication}\n\
         share.coordinator.state.topic.min.isr={in_sync}\n",
        node + 1,
        voters.join(","),
    );
    text.push_str(COMMON);
    if count == 1 {
        // A broker on its own serves development, where the first record of a topic creates it. The last line wins.
        text.push_str("auto.create.topics.enable=true\n");
    }
    text
}

/// Small and quick: a dead broker is noticed after 3 s, a group needs no grace for members to come.
const COMMON: &str = "\
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
unclean.leader.election.enable=false
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
background.threads=2
offsets.topic.num.partitions=3
transaction.state.log.num.partitions=3
share.coordinator.state.topic.num.partitions=3
log.cleaner.dedupe.buffer.size=8388608
log.segment.bytes=67108864
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=1000
group.consumer.heartbeat.interval.ms=500
group.consumer.min.heartbeat.interval.ms=100
";

/// Kafka 3 logs through reload4j.
pub(super) const LOG4J: &str = "\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %c: %m%n
";

/// Kafka 4 logs through log4j 2.
pub(super) const LOG4J2: &str = "\
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c: %m%n
";

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(count: u16) -> Vec<Ports> {
        (1..=count)
            .map(|n| Ports {
                client: n,
                controller: 100 + n,
            })
            .collect()
    }

    #[test]
    fn three_nodes_keep_what_two_of_them_acknowledged() {
        let text = properties(1, &ports(3), "/d");
        assert!(text.contains("node.id=2\n"));
        assert!(text.contains("controller.quorum.voters=1@127.0.0.1:101,2@127.0.0.1:102,3@127.0.0.1:103\n"));
        assert!(text.contains("default.replication.factor=3\nmin.insync.replicas=2\n"));
    }

    #[test]
    fn a_single_node_replicates_nothing() {
        let text = properties(0, &ports(1), "/d");
        assert!(text.contains("default.replication.factor=1\nmin.insync.replicas=1\n"));
    }
}
