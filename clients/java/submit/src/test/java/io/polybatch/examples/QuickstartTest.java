package io.polybatch.examples;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class QuickstartTest {
  @Test
  void theExampleOfTheReadmeIsWhatIsCompiled() throws IOException {
    String readme = Files.readString(Path.of("../README.md"));
    String example = readme.split("```java\n", 2)[1].split("```", 2)[0];
    String source =
        Files.readString(Path.of("src/main/java/io/polybatch/examples/Quickstart.java"));
    assertTrue(source.contains(example.indent(4)), "README.md and Quickstart.java differ");
  }
}
