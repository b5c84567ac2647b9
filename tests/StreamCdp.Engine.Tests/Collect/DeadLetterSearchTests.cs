using System.Text;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Collect;

public class DeadLetterSearchTests
{
    private readonly ILog _log = new SimulatedLogs().Open(new LogDefinition("dead-letters", 1, LogCleanup.Delete));

    [Fact]
    public void The_newest_of_two_with_the_same_messageId_is_found()
    {
        Add("""{"messageId":"m1"}""", """{"messageId":"m2"}""", """{"messageId":"m1"}""", """{"messageId":"m3"}""");

        Assert.Equal(2, Find("m1"));
    }

    [Fact]
    public void One_of_an_older_block_is_found_and_one_beyond_the_bound_is_not()
    {
        Add("""{"messageId":"m1"}""", """{"messageId":"m2"}""");
        Add([.. Enumerable.Repeat("{}", 5_000)]);

        Assert.Equal(1, Find("m2"));
        Assert.Equal(1, Find("m2", maxRecords: 5_001));
        Assert.Null(Find("m1", maxRecords: 5_001));
    }

    [Theory]
    [InlineData("""{"messageId":"m\u00e9\"1"}""", true)]
    [InlineData("""{"messageId":"mé\"1","properties":{"blob":"cut off he""", true)]
    [InlineData("""{"properties":{"messageId":"mé\"1"}}""", false)]
    [InlineData("""{"messageId":7}""", false)]
    [InlineData("mé\"1", false)]
    [InlineData("", false)]
    public void The_messageId_is_that_of_the_event_however_it_is_written(string payload, bool isFound)
    {
        Add(payload);

        Assert.Equal(isFound ? 0 : null, Find("mé\"1"));
    }

    private long? Find(string messageId, long maxRecords = 100_000)
    {
        long? found = null;
        bool isFound = DeadLetterSearch.TryFind(_log, Encoding.UTF8.GetBytes(messageId), (long offset, in DeadLetter letter) => found = offset, maxRecords);
        Assert.Equal(isFound, found is not null);
        return found;
    }

    private void Add(params string[] payloads)
    {
        using ILogWriter writer = _log.OpenWriter();
        byte[] buffer = new byte[1024];
        foreach (string payload in payloads)
        {
            int end = new DeadLetter { Reason = "missing_event"u8, Payload = Encoding.UTF8.GetBytes(payload) }.WriteTo(ref buffer, WireFormat.WriteHeader(ref buffer, 0, SchemaIds.BuiltIn[RecordType.DeadLetter]));
            writer.Append(0, default, buffer.AsSpan(0, end), 1);
        }

        writer.WaitDurable(writer.Appended);
    }
}
