// The example of README.md.
#include <polybatch/client.h>

#include <cstdio>

int main() try {
  const polybatch::Client client;
  const auto batch = client.submit("requests.jsonl");
  for (const auto& snapshot : client.watch(batch.id()))
    std::printf("%s, %d %%\n", snapshot.display_state().c_str(),
                static_cast<int>(snapshot.progress_percent()));
  for (const auto& line : client.results(batch.id())) std::puts(line.c_str());
} catch (const polybatch::Error& error) {
  std::fprintf(stderr, "%s (%s)\n", error.what(), error.reason().c_str());
  return 1;
}
