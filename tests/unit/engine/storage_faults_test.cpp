#include "engine/storage_faults.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/temp_dir.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWritten = "a file of the model was written to or replaced";

Error failed(int expert, const std::string& reason) {
  return Error(Fault::io,
               fmt::format("m.gguf: cannot read expert {} of layer 1 ({}; 4096 bytes at offset {}): {}; mend", expert,
                           expert % 2 == 0 ? "gate, up" : "down", 4096 * expert, reason));
}

class StorageFaultsTest : public testing::Test {
 protected:
  void replace_file() const { fs::last_write_time(path_, fs::last_write_time(path_) - std::chrono::hours(1)); }

  TempDir dir_;
  const std::string path_ = dir_.write("m.gguf", "weights");
  const std::vector<std::shared_ptr<File>> files_ = {open_file(path_)};
};

TEST_F(StorageFaultsTest, AReasonIsToldOnceHoweverManyExpertsHaveIt) {
  StorageFaults faults(files_);
  for (int expert = 0; expert < 5; ++expert) faults.add(failed(expert, "Input/output error"));
  EXPECT_EQ(faults.take_faults().size(), 1U);
  EXPECT_TRUE(faults.take_faults().empty());
  faults.passed();
  faults.add(failed(7, "Input/output error"));
  EXPECT_TRUE(faults.take_faults().empty());
  faults.add(failed(7, "Remote I/O error"));
  ASSERT_EQ(faults.take_faults(), std::vector<std::string>{failed(7, "Remote I/O error").what()});
  EXPECT_TRUE(faults.lasting().empty());
}

TEST_F(StorageFaultsTest, AReasonThatComesBackAfterACalmIsToldAgain) {
  StorageFaults faults(files_, 0);
  faults.add(failed(1, "Input/output error"));
  faults.add(failed(2, "Input/output error"));
  EXPECT_EQ(faults.take_faults().size(), 1U);
  faults.passed();
  faults.add(failed(3, "Input/output error"));
  EXPECT_EQ(faults.take_faults().size(), 1U);
}

TEST_F(StorageFaultsTest, AChangedFileLasts) {
  StorageFaults faults(files_);
  faults.add(failed(1, kWritten));  // of a mirror's file
  EXPECT_TRUE(faults.lasting().empty());
  replace_file();
  EXPECT_TRUE(faults.lasting().empty());
  faults.add(failed(1, "Input/output error"));  // of a mirror: the other way to read it may come back
  EXPECT_TRUE(faults.lasting().empty());
  faults.add(failed(1, kWritten));
  EXPECT_NE(faults.lasting().find(path_), std::string::npos) << faults.lasting();
  const std::string before = faults.lasting();
  faults.passed();
  faults.add(failed(1, "Input/output error"));
  EXPECT_EQ(faults.lasting(), before);
}

TEST_F(StorageFaultsTest, ADriveThatIsGivenUpIsANoteOnce) {
  StorageFaults faults(files_);
  faults.note_missing_drives("");
  EXPECT_TRUE(faults.take_notes().empty());
  faults.note_missing_drives("m2: Input/output error");
  EXPECT_EQ(faults.take_notes(), std::vector<std::string>{"the model is read without m2: Input/output error"});
  faults.note_missing_drives("m2: Input/output error");
  EXPECT_TRUE(faults.take_notes().empty());
}

}  // namespace
}  // namespace flashmoe
