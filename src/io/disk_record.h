// What trials found, kept in a folder: one small file for each drive and question.
#pragma once

#include <optional>
#include <string>

#include "io/disk_choice.h"

namespace flashmoe {

// What a trial's result depends on: the device (number, model, serial), the kernel, the file system's O_DIRECT, the
// sizes of reads, and what may be chosen. One line.
std::string disk_key(const DiskQuestion& question);

// Nothing when there is no folder, no record, or it is damaged, of another version or older than a day.
std::optional<DiskChoice> load_disk_choice(const std::string& folder, const std::string& key);
// Appears whole or not at all. A folder that cannot be written costs a trial the next time, and is no error.
void save_disk_choice(const std::string& folder, const std::string& key, const DiskChoice& choice) noexcept;

}  // namespace flashmoe
