//! Values for property tests.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::{Address, ByteString, EnumValue, Port, Protocol, Subnet, Timespan, Timestamp, Value};

/// Any value up to five levels deep, subnets as odd as the wire allows included.
pub(crate) fn values() -> impl Strategy<Value = Value> {
    scalars().prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::Vector),
            vec(inner.clone(), 0..8).prop_map(|values| Value::Set(values.into_iter().collect())),
            vec((inner.clone(), inner), 0..6)
                .prop_map(|entries| Value::Table(entries.into_iter().collect())),
        ]
    })
}

/// Scalars with many that are equal or near each other, so that orders and duplicates matter.
fn scalars() -> impl Strategy<Value = Value> {
    let reals = prop_oneof![
        any::<f64>(),
        Just(0.0),
        Just(-0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(5e-324),
        Just(-1.3e-310),
    ];
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..4),
        vec(b'a'..=b'c', 0..3),
        Just(vec![b'x'; 200])
    ];
    let address = prop_oneof![
        any::<[u8; 16]>().prop_map(Address::from_octets),
        any::<[u8; 4]>().prop_map(|octets| std::net::Ipv4Addr::from(octets).into()),
    ];
    let protocol = (0_u8..4).prop_filter_map("a protocol", Protocol::from_number);
    prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Boolean),
        prop_oneof![any::<u64>(), 0_u64..4].prop_map(Value::Count),
        prop_oneof![any::<i64>(), -2_i64..2].prop_map(Value::Integer),
        reals.prop_map(Value::Real),
        bytes
            .clone()
            .prop_map(|bytes| Value::String(ByteString::from(bytes))),
        address.clone().prop_map(Value::Address),
        (address, any::<u8>())
            .prop_map(|(network, length)| Value::Subnet(Subnet::from_raw(network, length))),
        (any::<u16>(), protocol)
            .prop_map(|(number, protocol)| Value::Port(Port::new(number, protocol))),
        any::<i64>().prop_map(|ns| Value::Timestamp(Timestamp::from_ns(ns))),
        any::<i64>().prop_map(|ns| Value::Timespan(Timespan::from_ns(ns))),
        bytes.prop_map(|bytes| Value::EnumValue(EnumValue::new(bytes))),
    ]
}
