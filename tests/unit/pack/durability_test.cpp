// What is on the disk for good, and when.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "flashmoe/pack.h"
#include "pack/durable_file.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace {

namespace fs = std::filesystem;

// What was synced, in order, and which of it the disk fails at.
struct Syncs {
  std::vector<std::string> paths;
  std::vector<bool> source_there;  // at each
  std::string source, failing;
};
Syncs* watched = nullptr;

}  // namespace

// Stands before the C library's.
extern "C" int fsync(int fd) {
  if (watched != nullptr) {
    const std::string path = fs::read_symlink("/proc/self/fd/" + std::to_string(fd)).string();
    watched->paths.push_back(path);
    watched->source_there.push_back(fs::exists(watched->source));
    if (!watched->failing.empty() && path.ends_with(watched->failing)) {
      errno = EIO;
      return -1;
    }
  }
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace flashmoe {
namespace {

class DurabilityTest : public testing::Test {
 protected:
  DurabilityTest() {
    TinyModelOptions tiny;
    tiny.layout = TinyLayout::hf_stacked;
    tiny.with_k_quant_dims();
    fs::create_directories(folder_ / "model");
    options_.source = write_tiny_model(folder_ / "model", tiny);
    options_.destination = folder_ / "packed";
    options_.delete_source = true;
    options_.n_threads = 1;
    syncs_.source = folder_ / "model/model.safetensors";
    watched = &syncs_;
  }
  ~DurabilityTest() override { watched = nullptr; }

  // Of a sync of the path that ends so while the source was there; the last one.
  std::ptrdiff_t last_before_deletion(const std::string& ending) const {
    std::ptrdiff_t last = -1;
    for (size_t i = 0; i < syncs_.paths.size(); ++i) {
      if (syncs_.source_there[i] && syncs_.paths[i].ends_with(ending)) last = static_cast<std::ptrdiff_t>(i);
    }
    return last;
  }

  TempDir folder_;
  PackOptions options_;
  Syncs syncs_;
};

TEST_F(DurabilityTest, WhatGoingOnNeedsIsOnTheDiskBeforeTheSourceGoes) {
  ASSERT_TRUE(fs::exists(syncs_.source));
  pack(options_);
  EXPECT_FALSE(fs::exists(syncs_.source));
  const std::ptrdiff_t names = last_before_deletion("packed/source.partial");
  ASSERT_GE(names, 0);
  for (const auto& entry : fs::directory_iterator(folder_ / "model")) {
    const std::ptrdiff_t file = last_before_deletion("source.partial/" + entry.path().filename().string());
    EXPECT_GE(file, 0) << entry.path();
    EXPECT_LT(file, names) << entry.path();
  }
  const std::ptrdiff_t size = last_before_deletion("source/model.safetensors.sparse");
  EXPECT_GE(size, 0);
  EXPECT_LT(size, last_before_deletion("packed/source"));
}

TEST_F(DurabilityTest, NothingIsDeletedWhereTheDiskFails) {
  for (const char* failing : {"source.partial/config.json", "packed/source.partial", "model.safetensors.sparse",
                              "packed/source", "experts-00.bank.partial", "packed"}) {
    fs::remove_all(options_.destination);
    syncs_.failing = failing;
    expect_error([&] { pack(options_); }, Fault::io, {"Input/output error"});
    EXPECT_TRUE(fs::exists(syncs_.source)) << failing;
  }
}

TEST(SyncFolder, AFileSystemWithoutItIsPassedOverUnlessItHasToBeSure) {
  sync_folder("/proc", Sync::if_possible);
  expect_error([] { sync_folder("/proc", Sync::surely); }, Fault::io, {"/proc", "for good"});
  for (const Sync how : {Sync::if_possible, Sync::surely}) {
    expect_error([&] { sync_folder("/not/there", how); }, Fault::io, {"/not/there", "No such file"});
  }
}

}  // namespace
}  // namespace flashmoe
