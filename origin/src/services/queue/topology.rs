//! What the broker must have: one queue for each consumer, and one for what it gives up.

use crate::services::events::Consumer;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

/// Takes every message; the routing key is the consumer's name.
pub(super) const EXCHANGE: &str = "rollcall.events";
/// Both the exchange and the queue of what was given up.
pub(super) const DEAD: &str = "rollcall.dead";
/// A message that was delivered so often and never acknowledged is given up.
const DELIVERIES_MAX: i64 = 20;

pub(super) fn queue_of(consumer: Consumer) -> String {
    format!("{EXCHANGE}.{}", consumer.as_str())
}

/// Makes what is not there. What is there in another form is an error of the broker.
pub(super) async fn declare(channel: &Channel) -> Result<(), lapin::Error> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Direct, durable, none()).await?;
    channel.exchange_declare(DEAD.into(), ExchangeKind::Fanout, durable, none()).await?;
    declare_queue(channel, DEAD, quorum()).await?;
    channel.queue_bind(DEAD.into(), DEAD.into(), "".into(), QueueBindOptions::default(), none()).await?;
    for consumer in Consumer::ALL {
        let name = queue_of(consumer);
        let mut arguments = quorum();
        arguments.insert("x-dead-letter-exchange".into(), text(DEAD));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERIES_MAX));
        declare_queue(channel, &name, arguments).await?;
        let key = consumer.as_str().into();
        let options = QueueBindOptions::default();
        channel.queue_bind(name.into(), EXCHANGE.into(), key, options, none()).await?;
    }
    Ok(())
}

/// How many messages wait in a queue; an error when it is not there.
pub(super) async fn count(channel: &Channel, name: &str) -> Result<u32, lapin::Error> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(name.into(), passive, FieldTable::default()).await?;
    Ok(queue.message_count())
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> Result<(), lapin::Error> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), durable, arguments).await.map(drop)
}

/// Replicated to a majority of the broker's nodes before a message is confirmed.
fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}
