package io.polybatch.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class ReplicasTest {
  private static final Connection CONNECTION =
      Connection.resolve(
          ClientOptions.builder()
              .gateway("localhost:1")
              .collector("localhost:1")
              .apiKey("pb")
              .build());

  private long now;
  private final List<Replica> all =
      Stream.of("a:1", "b:1", "c:1")
          .map(address -> new Replica(Server.GATEWAY, address, CONNECTION))
          .toList();
  private final Replicas replicas = new Replicas(all, () -> now, 1);

  @AfterEach
  void close() {
    replicas.close();
  }

  @Test
  void byTurns() {
    assertEquals(List.of("b:1", "c:1", "a:1", "b:1"), turns(4));
  }

  @Test
  void oneThatIsAwayRestsLongerEachTime() {
    replicas.away(all.get(1));
    assertEquals(List.of("c:1", "a:1", "c:1"), turns(3));
    now += TimeUnit.SECONDS.toNanos(1);
    assertEquals(List.of("a:1", "b:1"), turns(2));
    replicas.away(all.get(1));
    now += TimeUnit.SECONDS.toNanos(1);
    assertEquals(List.of("c:1", "a:1", "c:1"), turns(3), "it rests for two seconds now");
    replicas.answered(all.get(1));
    assertEquals(List.of("a:1", "b:1"), turns(2));
  }

  @Test
  void whereAllAreAwayTheOneThatRestsForTheLeastTimeIsAsked() {
    for (Replica replica : all) {
      replicas.away(replica);
      now += TimeUnit.MILLISECONDS.toNanos(100);
    }
    assertEquals(List.of("a:1", "a:1"), turns(2));
  }

  private List<String> turns(int count) {
    return Stream.generate(() -> replicas.turn().address).limit(count).toList();
  }
}
