import sparkplug_b

# A name here is a promise: renaming or removing one breaks users.
NAMES = [
    "BirthFit",
    "BirthMetric",
    "Command",
    "CommandDrop",
    "CommandToSend",
    "CompressionAlgorithm",
    "COMPRESSED_UUID",
    "DEFAULT_LIMITS",
    "DataSet",
    "DataType",
    "DecodeCause",
    "DecodeError",
    "DeviceBirth",
    "DeviceOffline",
    "DeviceOnline",
    "DeviceStateError",
    "Dropped",
    "DuplicateAliasError",
    "DuplicateNameError",
    "EdgeNodeSession",
    "EdgeOptions",
    "EncodeError",
    "EncodedMetrics",
    "HostDrop",
    "HostEvent",
    "HostMetric",
    "HostNode",
    "HostOptions",
    "HostScope",
    "HostSession",
    "HostSessionState",
    "HostState",
    "Limits",
    "MetaData",
    "Metric",
    "MetricColumn",
    "MetricColumns",
    "MetricValues",
    "NodeOffline",
    "NodeOnline",
    "NotBornError",
    "NotConnectedError",
    "OfflineReason",
    "OutboundMessage",
    "PacketTooLargeError",
    "Parameter",
    "Payload",
    "PrimaryHost",
    "PropertySet",
    "PropertySetList",
    "PropertyValue",
    "Quality",
    "SessionError",
    "SessionState",
    "SparkplugError",
    "StateTopic",
    "Template",
    "Topic",
    "TimestampUnit",
    "TopicError",
    "TypeTable",
    "Value",
    "advise_metric_name",
    "check_id",
    "check_metric_name",
    "check_metric_names",
    "compressed",
    "data_payload",
    "decode",
    "decode_columns",
    "device_topic",
    "encode",
    "encode_metrics",
    "next_bd_seq",
    "node_topic",
    "normalise_ms",
    "pack_array",
    "parse_state",
    "parse_topic",
    "state_topic",
    "unpack_array",
]


def test_the_public_names_are_the_listed_ones():
    assert sorted(sparkplug_b.__all__) == sorted(NAMES)
    assert all(hasattr(sparkplug_b, name) for name in NAMES)


def errors_below(kind):
    return {kind}.union(*map(errors_below, kind.__subclasses__()))


def test_every_error_has_its_own_code_and_stands_in_the_tree_on_top_of_errors():
    kinds = errors_below(sparkplug_b.SparkplugError)
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert kind.__name__ in sparkplug_b.errors.__doc__
        assert kind.code in sparkplug_b.errors.__doc__


def test_data_type_numbers_are_those_of_the_specification():
    assert [int(data_type) for data_type in sparkplug_b.DataType] == list(range(35))
    assert sparkplug_b.DataType.UINT32 == 7
    assert sparkplug_b.DataType.DATETIME == 13
    assert sparkplug_b.DataType.PROPERTY_SET_LIST == 21
    assert sparkplug_b.DataType.BOOLEAN_ARRAY == 32
    assert sparkplug_b.DataType.DATETIME_ARRAY == 34
