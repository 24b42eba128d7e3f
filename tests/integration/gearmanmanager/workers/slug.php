<?php
/** The address part of an article's title: lower case, words joined by hyphens. */

function slug($job, &$log)
{
    $title = $job->workload();
    $slug = trim(preg_replace('/[^a-z0-9]+/', '-', strtolower($title)), '-');
    $log[] = "made $slug";
    if ($slug === '') {
        throw new InvalidArgumentException("nothing is left of the title '$title'");
    }
    return $slug;
}
