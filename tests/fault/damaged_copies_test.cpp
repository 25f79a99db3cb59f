// Records with checksums on two drives, one of which has damaged them.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/checksum.h"
#include "experts/streamed.h"
#include "flashmoe/error.h"
#include "io/spread_queue.h"
#include "support/fake_experts.h"

namespace flashmoe {
namespace {

constexpr int kLayers = 3, kExperts = 8;

// Parameter: parts that reads are cut into; 0: none, so that a record comes from one drive.
class DamagedCopies : public testing::TestWithParam<uint64_t> {
 protected:
  DamagedCopies() : experts_(make_fake_experts(Layout::per_expert, kLayers, kExperts, 3)) {
    for (ExpertRecord& record : experts_.table.records) seal(record);
  }

  // As records are packed: gate, up, down, and a checksum.
  void seal(ExpertRecord& record) const {
    Extent &gate = record.gate.parts[0], &up = record.up.parts[0], &down = record.down.parts[0];
    gate.offset = down.offset;
    up.offset = gate.offset + gate.bytes;
    down.offset = up.offset + up.bytes;
    const std::byte* begin = experts_.disk->content(static_cast<int>(gate.file)).data() + gate.offset;
    record.checksum = checksum_of({begin, static_cast<size_t>(record.bytes())});
  }

  std::vector<std::byte> content(uint32_t file, bool damaged) const {
    std::vector<std::byte> bytes = experts_.disk->content(static_cast<int>(file));
    for (const ExpertRecord& record : experts_.table.records) {
      if (damaged && record.gate.parts[0].file == file) bytes[record.gate.parts[0].offset + 5] ^= std::byte{1};
    }
    return bytes;
  }

  // Descriptors: 2 * drive + file.
  void open(std::vector<bool> damaged_drives) {
    const auto disk = std::make_shared<FakeDisk>();
    std::vector<Drive> drives;
    for (const bool damaged : damaged_drives) {
      Drive drive{.name = "drive" + std::to_string(drives.size()), .files = {}, .depth = 4};
      for (uint32_t file = 0; file < 2; ++file) {
        drive.files.push_back(disk->add(drive.name + "/f" + std::to_string(file), content(file, damaged)));
      }
      drives.push_back(std::move(drive));
    }
    const auto files = drives.front().files;
    auto queue = make_spread_queue(std::make_unique<FakeReadQueue>(disk, 3), std::move(drives),
                                   {.chunk_bytes = GetParam(), .watch_ns = 0});
    source_.reset();
    const uint64_t bytes = streamed_sizes(experts_.table, 1).floor_bytes;
    budget_ = std::make_unique<Budget>();
    budget_->allot(Allotted::expert_cache, bytes);
    source_ = make_streamed_experts(experts_.table, files, std::move(queue), {}, *budget_);
  }

  // Everything a few times over, so that each drive gives each record.
  void read_all() {
    for (int round = 0; round < 6; ++round) {
      for (int layer = 0; layer < kLayers; ++layer) {
        for (int expert = 0; expert < kExperts; expert += 2) {
          const std::vector<int32_t> picks = {expert, (expert + 1 + 2 * round) % kExperts};
          Lease lease = source_->acquire(layer, picks);
          ASSERT_TRUE(all_arrive(experts_, layer, picks, lease));
        }
      }
    }
  }

  FakeExperts experts_;
  std::unique_ptr<Budget> budget_;
  std::unique_ptr<ExpertSource> source_;
};

TEST_P(DamagedCopies, TheOtherDriveGivesWhatIsRight) {
  for (const bool first : {true, false}) {
    open({first, !first});
    read_all();
    const std::string mode = source_->io_stats().mode;
    EXPECT_NE(mode.find("damaged record"), std::string::npos) << mode;
    EXPECT_NE(mode.find(first ? "drive0/f" : "drive1/f"), std::string::npos) << mode;
  }
}

TEST_P(DamagedCopies, WholeCopiesAreNotComplainedAbout) {
  open({false, false});
  read_all();
  EXPECT_EQ(source_->io_stats().mode.find("damaged"), std::string::npos) << source_->io_stats().mode;
}

TEST_P(DamagedCopies, OneWholeCopyOfThreeIsEnough) {
  open({true, true, false});
  read_all();
}

TEST_P(DamagedCopies, WithoutAWholeCopyTheMessageNamesOneThatWasRead) {
  for (const size_t n_drives : {size_t{1}, size_t{2}}) {
    open(std::vector<bool>(n_drives, true));
    const std::vector<int32_t> picks = {3};
    Lease lease = source_->acquire(1, picks);
    try {
      lease.wait(0);
      FAIL() << "damaged bytes were given";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.fault(), Fault::io);
      EXPECT_EQ(message.find("drive"), 0u) << message;
      EXPECT_NE(message.find("its checksum is not the one in manifest.json"), std::string::npos) << message;
      EXPECT_EQ(message.find("(1 tries)"), std::string::npos) << message;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Parts, DamagedCopies, testing::Values(0u, 4096u));

}  // namespace
}  // namespace flashmoe
