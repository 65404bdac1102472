// Addresses and keys. The service itself is tested from outside (tests/apps/serve_test.py).

#include "io/serve/service.h"

#include <sys/stat.h>

#include <filesystem>

#include "io/files/atomic_file.h"
#include "kernels/error.h"
#include "tests/io/file_test.h"
#include "tests/io/serve/scan_double.h"

namespace eelsvae {
namespace {

TEST(Service, KnowsWhatIsReachedFromOutside) {
  for (const char* local : {"tcp://127.0.0.1:5725", "tcp://127.1.2.3:*", "tcp://localhost:1",
                            "tcp://[::1]:5725", "ipc:///tmp/socket"})
    EXPECT_TRUE(is_local_address(local)) << local;
  for (const char* other : {"tcp://*:5725", "tcp://0.0.0.0:5725", "tcp://192.168.1.2:5725", "tcp://eth0:5725",
                            "tcp://127.0.0.1.example.org:5725", "tcp://[::]:5725", "tcp://127.0.0:1"})
    EXPECT_FALSE(is_local_address(other)) << other;
  for (const char* none :
       {"", "127.0.0.1:5725", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:", "udp://127.0.0.1:1"})
    EXPECT_THROW(is_local_address(none), UserError) << none;
}

TEST(Service, OtherAddressesNeedKeys) {
  ScanDoubles source;
  ServiceOptions options;
  options.address = "tcp://*:*";
  const std::atomic<bool> stop = true;
  try {
    serve(
        options, source, [](const std::string&) {}, StopToken(stop));
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("--make-keys"), std::string::npos);
  }
}

TEST(Service, AddressThatCannotBeHadIsALine) {
  ScanDoubles source;
  ServiceOptions options;
  options.address = "tcp://127.0.0.1:none";
  const std::atomic<bool> stop = true;
  EXPECT_THROW(serve(
                   options, source, [](const std::string&) {}, StopToken(stop)),
               UserError);
}

using Keys = FileTest;

TEST_F(Keys, AreMadeOnceAndForTheirOwner) {
  const std::string keys_file = path("keys");
  make_service_keys(keys_file);
  const ServiceKeys keys = load_service_keys(keys_file);
  EXPECT_EQ(keys.service_secret.size(), 40u);
  EXPECT_EQ(keys.client_public.size(), 40u);
  EXPECT_EQ(keys.client_public.size(), 40u);
  for (const std::string& each : {keys_file, keys_file + ".client"}) {
    struct stat status = {};
    ASSERT_EQ(::stat(each.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
  }
  EXPECT_THROW(make_service_keys(keys_file), UserError);
  // The clients' file has not what the service needs.
  EXPECT_THROW(load_service_keys(keys_file + ".client"), UserError);
  ASSERT_EQ(::chmod(keys_file.c_str(), 0644), 0);
  EXPECT_THROW(load_service_keys(keys_file), UserError);
}

TEST_F(Keys, OtherFilesAreNone) {
  EXPECT_THROW(load_service_keys(path("none")), UserError);
  write_file(path("keys"), "{\"service_public\": 1}");
  ASSERT_EQ(::chmod(path("keys").c_str(), 0600), 0);
  EXPECT_THROW(load_service_keys(path("keys")), UserError);
}

}  // namespace
}  // namespace eelsvae
