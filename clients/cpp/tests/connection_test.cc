// Addresses, TLS and the key: options, the environment, defaults.
#include "connection.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

namespace polybatch::internal {
namespace {

using Addresses = std::vector<std::string>;

class ConnectionTest : public testing::Test {
 protected:
  ConnectionTest() { std::filesystem::create_directory(folder_); }
  ~ConnectionTest() override { std::filesystem::remove_all(folder_); }

  Connection resolved() {
    return resolve(options_, [this](const std::string& name) { return variables_[name]; });
  }

  std::string reason() {
    try {
      resolved();
      return "";
    } catch (const Error& error) {
      return error.reason();
    }
  }

  void write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name) << content;
  }

  std::filesystem::path folder_ = std::filesystem::path(testing::TempDir()) /
                                  testing::UnitTest::GetInstance()->current_test_info()->name();
  ClientOptions options_;
  std::map<std::string, std::string> variables_ = {{"POLYBATCH_API_KEY", "key"},
                                                   {"POLYBATCH_DATA_DIR", folder_.string()}};
};

TEST_F(ConnectionTest, Defaults) {
  const Connection found = resolved();
  EXPECT_EQ(found.gateway, Addresses{"localhost:50051"});
  EXPECT_EQ(found.collector, Addresses{"localhost:50052"});
  EXPECT_FALSE(found.tls);
  EXPECT_EQ(found.wait, std::chrono::minutes(2));
  variables_["POLYBATCH_PORT_BASE"] = "6000";
  EXPECT_EQ(resolved().collector, Addresses{"localhost:6001"});
  variables_["POLYBATCH_PORT_BASE"] = "65535";
  EXPECT_EQ(reason(), "ADDRESS_INVALID");
}

TEST_F(ConnectionTest, TheDataFolderOfARunningService) {
  write("addresses.json", R"({"gateway": "localhost:7001", "collector": "localhost:7002"})");
  write("api-key", "from-file\n");
  variables_["POLYBATCH_API_KEY"] = "";
  EXPECT_EQ(resolved().gateway, Addresses{"localhost:7001"});
  EXPECT_EQ(resolved().api_key, "from-file");
  write("addresses.json", R"({"gateway": 7})");
  EXPECT_EQ(reason(), "ADDRESSES_UNREADABLE");
}

TEST_F(ConnectionTest, OptionsGoFirst) {
  variables_["POLYBATCH_GATEWAY"] = "a:1";
  options_.gateway = "b:2";
  options_.api_key = " mine ";
  options_.wait = std::chrono::milliseconds(5);
  variables_["POLYBATCH_WAIT"] = "7.5";
  EXPECT_EQ(resolved().gateway, Addresses{"b:2"});
  EXPECT_EQ(resolved().api_key, "mine");
  EXPECT_EQ(resolved().wait, std::chrono::milliseconds(5));
  options_.wait.reset();
  EXPECT_EQ(resolved().wait, std::chrono::milliseconds(7500));
}

TEST_F(ConnectionTest, FormsOfAddresses) {
  variables_["POLYBATCH_GATEWAY"] = " grpc://a:1/, b:2,,a:1, [::1]:3, dns:///c:4";
  EXPECT_EQ(resolved().gateway, (Addresses{"a:1", "b:2", "[::1]:3", "dns:///c:4"}));
  for (const char* bad : {"a", "a:", ":1", "a:0", "a:65536", "a:1x", "a/b:1", ",", "ftp://a:1"}) {
    variables_["POLYBATCH_GATEWAY"] = bad;
    EXPECT_EQ(reason(), "ADDRESS_INVALID") << bad;
  }
}

TEST_F(ConnectionTest, AKeyCrossesANetworkInTheClearOnlyWhereThatWasAskedFor) {
  const struct {
    const char* address;
    const char* setting;
    bool tls;
  } cases[] = {
      {"localhost:1", "", false},
      {"127.9.9.9:1", "", false},
      {"[::1]:1", "", false},
      {"unix:/socket", "", false},
      {"grpc://far:1", "", false},
      {"far:1", "", true},
      {"localhost:1,far:1", "", true},
      {"10.0.0.1:1", "", true},
      {"localhost.evil:1", "", true},
      {"grpcs://localhost:1", "", true},
      {"https://localhost:1", "", true},
      {"localhost:1", "1", true},
      {"far:1", "off", false},
  };
  for (const auto& [address, setting, tls] : cases) {
    variables_["POLYBATCH_GATEWAY"] = address;
    variables_["POLYBATCH_TLS"] = setting;
    EXPECT_EQ(resolved().tls, tls) << address << " " << setting;
  }
}

TEST_F(ConnectionTest, SettingsThatMakeNoSense) {
  const struct {
    const char* name;
    const char* value;
    const char* reason;
  } cases[] = {
      {"POLYBATCH_TLS", "maybe", "TLS_SETTING_INVALID"},
      {"POLYBATCH_WAIT", "-1", "WAIT_INVALID"},
      {"POLYBATCH_WAIT", "nan", "WAIT_INVALID"},
      {"POLYBATCH_WAIT", "soon", "WAIT_INVALID"},
      {"POLYBATCH_API_KEY", "\x01", "API_KEY_INVALID"},
      {"POLYBATCH_API_KEY", "", "API_KEY_MISSING"},
      {"POLYBATCH_TLS_CLIENT_CERT", "cert.pem", "TLS_FILE_UNUSABLE"},
  };
  for (const auto& [name, value, expected] : cases) {
    const auto before = variables_;
    variables_[name] = value;
    EXPECT_EQ(reason(), expected) << name;
    variables_ = before;
  }
  variables_["POLYBATCH_GATEWAY"] = "grpcs://a:1";
  variables_["POLYBATCH_TLS"] = "0";
  EXPECT_EQ(reason(), "TLS_SETTING_INVALID");
}

TEST_F(ConnectionTest, FilesThatAreNoPem) {
  write("ca.pem", "nothing of the kind");
  Connection connection = resolved();
  connection.tls = true;
  for (const auto& file : {folder_ / "ca.pem", folder_ / "none.pem"}) {
    connection.tls_ca = file;
    try {
      credentials(connection);
      ADD_FAILURE() << file;
    } catch (const Error& error) {
      EXPECT_EQ(error.reason(), "TLS_FILE_UNUSABLE");
      EXPECT_NE(std::string(error.what()).find("POLYBATCH_TLS_CA"), std::string::npos);
    }
  }
}

TEST(MayBeSeveral, OnlyNames) {
  for (const char* one : {"localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/a", "ipv4:1.2.3.4:5"})
    EXPECT_FALSE(may_be_several(one)) << one;
  for (const char* several : {"gateway:1", "dns:///gateway:1"})
    EXPECT_TRUE(may_be_several(several)) << several;
}

}  // namespace
}  // namespace polybatch::internal
