namespace StreamCdp.Engine.Model;

/// <summary>Reads a topic of Kafka.</summary>
internal static class KafkaReader
{
    public static readonly string[] Keys = ["brokers", "topic", "tls", "ca", "user", "secret", "sasl", "segments", "start", "send", "fields", "batch"];

    private static readonly Dictionary<string, string> Mechanisms = new() { ["plain"] = "PLAIN", ["scram-sha-256"] = "SCRAM-SHA-256", ["scram-sha-512"] = "SCRAM-SHA-512" };

    public static DestinationDefinition Read(DestinationItem item)
    {
        var kafka = new KafkaDefinition
        {
            Brokers = item.Required("brokers", "a Kafka", KafkaDefinition.BrokersError) ?? "",
            Topic = item.Required("topic", "a Kafka", KafkaDefinition.TopicError) ?? "",
            Tls = item.IsOn("tls"),
            CaPath = item.Text("ca"),
            User = item.Text("user"),
            Sasl = item.Draft.OneOf(item.Keys, "sasl", Mechanisms, "SCRAM-SHA-512"),
        };
        bool hasUser = item.Keys.ContainsKey("user");
        string? secret = hasUser ? item.Password("a user") : null;
        Check(item, kafka, hasUser);
        return item.Delivered(new DestinationDefinition { Id = item.Id, Kind = item.Kind, Kafka = kafka, Secret = secret ?? "" });
    }

    private static void Check(DestinationItem item, KafkaDefinition kafka, bool hasUser)
    {
        if (item.Keys.TryGetValue("ca", out YamlNode? ca) && !kafka.Tls)
        {
            item.Draft.Error(ca.Offset, "ca is of use only with tls: true");
        }

        foreach (string key in new[] { "secret", "sasl" })
        {
            if (!hasUser && item.Keys.TryGetValue(key, out YamlNode? alone))
            {
                item.Draft.Error(alone.Offset, $"{key} is of use only with user");
            }
        }

        if (kafka.Tls || kafka.Brokers.Length == 0 || kafka.IsThisMachine)
        {
            return;
        }

        if (hasUser && kafka.Sasl == "PLAIN")
        {
            item.Draft.Error(item.Keys["sasl"].Offset, "sasl: plain without tls sends the secret so that everybody on the way can read it; write tls: true, or use scram-sha-512");
        }
        else
        {
            item.Draft.Note(item.Keys["brokers"].Offset, "without tls: true everybody on the way can read what is sent");
        }
    }
}
